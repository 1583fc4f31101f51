"""Runs one piece of code the way a notebook does. It is given to python -c after
state.py and tables.py; the code comes as JSON on standard input, which is empty afterwards."""

import ast
import collections
import io
import itertools
import json
import linecache
import os
import re
import reprlib
import site
import sys
import traceback
import types

NAME = "<code>"
FRAMES_MAX = 4
LINE_MAX = 200
VALUE_MAX = 400  # of a variable that is shown in place of output
VALUE_MARK = "\x1e"  # before that variable; python.go knows it, too
TABLE_MAX = 1 << 20  # bytes of a file that is looked at after an error
HINT_MAX, HINTS_MAX = 60, 3  # of the variables of a line that failed
PLAIN = (bool, int, float, str, list, tuple, dict, set)


def main():
    task = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    source, folder = task["code"], task.get("state")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    sys.stdin = open(0)
    sys.stdout = Output(
        sys.stdout.buffer, encoding="utf-8", errors="backslashreplace", write_through=True
    )
    sys.stderr.reconfigure(errors="backslashreplace")
    end_at_once()
    own_packages(task.get("user"))
    sys.path.insert(0, os.getcwd())
    sys.argv = ["code.py"]
    # With this, tracebacks and inspect find the lines of code that has no file.
    linecache.cache[NAME] = (len(source), None, source.splitlines(True), NAME)
    sys.modules["tablefile"] = tablefile = types.ModuleType("tablefile")
    tablefile.rows, tablefile.save = rows, save
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    state = open_state(folder)
    sys.exit(run(source, module.__dict__, state))


def end_at_once():
    """Lets a native library that gives up end the process. By itself OpenBLAS, for
    one, would then wait for its own threads, up to the time limit."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.on_exit(libc._exit, None)  # the last of these runs first
        libc.on_exit(libc.fcloseall, None)
    except Exception:  # a system without them
        pass


def own_packages(folder):
    """Adds a person's own packages before those of the system, as Python does."""
    if not folder:
        return
    known = list(sys.path)
    site.addsitedir(folder)
    added = [p for p in sys.path if p not in known]
    system = next((i for i, p in enumerate(known) if p.endswith("-packages")), len(known))
    sys.path[:] = known[:system] + added + known[system:]


def main_file(source, tree, state):
    """Writes what a process of a pool imports as its main module: what the code
    defines, but not what it does. Earlier functions and modules come first."""
    import tempfile

    known = [(n, e) for n, e in state.names.items() if n in state.loaded]
    earlier = [
        f"import {e['module']} as {n}" for n, e in known if e["kind"] == "module" and "." not in n
    ]
    earlier += [e["text"] for _, e in known if e["kind"] == "source"]
    guarded = any(isinstance(n, ast.If) and "__name__" in ast.dump(n.test) for n in tree.body)
    body = [n for n in tree.body if defines(n, guarded)]
    text = (
        "\n".join(earlier + [ast.unparse(n) for n in body]) if hasattr(ast, "unparse") else source
    )
    path = os.path.join(tempfile.mkdtemp(prefix=".main-"), "code.py")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def defines(node, guarded):
    if isinstance(
        node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    ):
        return True
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return False
    return guarded or not any(isinstance(n, ast.Call) for n in ast.walk(node))


class Output(io.TextIOWrapper):
    """Standard output that knows whether anything was printed."""

    used = False

    def write(self, text):
        self.used = True
        self.write = super().write  # from now on without this detour
        return self.write(text)


def open_state(folder):
    try:
        return State(folder)
    except OSError:
        return State(None)


def run(source, names, state):
    try:
        tree = ast.parse(source, NAME)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        explain(error, source, state)
        return 1
    before = set(names)
    state.restore(tree, names)
    if "multiprocessing" in source or "concurrent" in source:
        names["__file__"] = main_file(source, tree, state)
    try:
        return execute(source, names, state)
    finally:
        keep(state, names, source, before)


def keep(state, names, source, before):
    """Keeps the variables; a full disk, say, must not spoil the result."""
    sys.stdout.flush()
    try:
        state.save(names, source, ast.parse(source, NAME), before)
    except (OSError, RuntimeError, MemoryError, ValueError):
        pass


def execute(source, names, state):
    try:
        body, last = split(source)
        exec(body, names)
        if last is not None:
            value = eval(last, names)
            if value is not None:
                print(value if isinstance(value, str) else repr(value))
        else:
            show_last_variable(source, names)
        return 0
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.stdout.flush()
        explain(error, source, state)
        return 1


def split(source):
    """Compiles the code without its last expression, and that expression."""
    tree = ast.parse(source, NAME)
    last = None
    if (
        tree.body
        and isinstance(tree.body[-1], ast.Expr)
        and not counts_written(tree.body[-1].value)
    ):
        last = compile(ast.Expression(tree.body.pop().value), NAME, "eval")
    return compile(tree, NAME, "exec"), last


def counts_written(node):
    """f.write(text) gives a number of characters, which nobody asked for."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.startswith("write")
    )


def show_last_variable(source, names):
    """Code that works something out and prints nothing is a common slip. The
    harness shows this line only where the code changed no file, either."""
    if getattr(sys.stdout, "used", True):
        return
    name = next(results(ast.parse(source, NAME).body, names), None)
    value = names.get(name)
    if isinstance(value, PLAIN) and len(repr(value)) <= VALUE_MAX:
        print(f"{VALUE_MARK}{name} = {value!r}")


def results(body, names):
    """The variables that statements outside of functions assign, the last one
    first; None where a loop left several or none that its end gave a meaning."""
    for statement in reversed(body):
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            target = (
                statement.targets[-1] if isinstance(statement, ast.Assign) else statement.target
            )
            if isinstance(target, ast.Name):
                yield target.id
        elif isinstance(statement, (ast.For, ast.While)):
            yield from results(statement.orelse, names)
            yield from loop_result(statement, names)
        elif isinstance(statement, (ast.With, ast.If, ast.Try)):
            for part in ("finalbody", "orelse", "body"):
                yield from results(getattr(statement, part, []), names)


def loop_result(loop, names):
    """The variable that a loop adds to. What each round sets anew, and what the
    loop counts itself by, is a leftover of its last round."""
    nodes = list(ast.walk(loop))
    added = [n.target for n in nodes if isinstance(n, ast.AugAssign)]
    grown = {base_name(t) for t in added}
    grown |= {
        base_name(n) for n in nodes if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
    }
    calls = [
        n.value.func for n in nodes if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)
    ]
    grown |= {base_name(f) for f in calls if isinstance(f, ast.Attribute)}
    anew = {
        n.id
        for n in nodes
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n not in added
    }
    tested = (
        {n.id for n in ast.walk(loop.test) if isinstance(n, ast.Name)}
        if isinstance(loop, ast.While)
        else set()
    )
    grown = [n for n in grown - anew - tested if isinstance(names.get(n), PLAIN)]
    if len(grown) == 1:
        yield grown[0]
    elif grown or anew or added:
        yield None


def base_name(node):
    """The variable that an attribute or an item is of."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def explain(error, source, state):
    """Prints an error with the lines of the code that led to it, no others."""
    if isinstance(error, SyntaxError) and error.filename == NAME:
        show(error.lineno or 1, (error.text or line(source, error.lineno or 1)).rstrip("\n"))
        print(f"{type(error).__name__}: {error.msg}", file=sys.stderr)
        return
    calls = [
        (frame, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if own(frame.f_code.co_filename)
    ]
    # A comprehension has a frame of its own, on the line of the one around it.
    calls = [
        list(same)[-1]
        for _, same in itertools.groupby(calls, lambda c: (c[0].f_code.co_filename, c[1]))
    ]
    frames = traceback.StackSummary.extract(iter(calls))
    if len(frames) > FRAMES_MAX:
        frames = frames[:1] + frames[1 - FRAMES_MAX :]
    for frame in frames:
        show(frame.lineno, frame.line or "", place_of(frame.filename))
    for text in traceback.format_exception_only(type(error), error):
        sys.stderr.write(text)
    if isinstance(error, ModuleNotFoundError):
        print(f"This is Python {sys.version.split()[0]}, {sys.executable}.", file=sys.stderr)
    if isinstance(error, OSError) and "multiprocessing" in "".join(
        f.filename for f in traceback.extract_tb(error.__traceback__)
    ):
        print(
            "Processes can't share locks or sockets here. Use threads: multiprocessing.pool.ThreadPool or concurrent.futures.ThreadPoolExecutor.",
            file=sys.stderr,
        )
    if calls:
        show_values(calls[-1][0], frames[-1].line or "")
    show_table(source)
    lost = state.lost.get(getattr(error, "name", None)) if isinstance(error, NameError) else None
    if lost:
        print(
            f"{error.name} was not kept from the earlier call: {lost}. Make it again.",
            file=sys.stderr,
        )


def show_values(frame, text):
    """Prints what the variables of the line that failed hold: often that is
    what its author was wrong about."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = HINT_MAX
    values = {**frame.f_globals, **frame.f_locals}
    names = [
        n for n in dict.fromkeys(re.findall(r"[^\W\d]\w*", text)) if type(values.get(n)) in PLAIN
    ]
    for name in names[:HINTS_MAX]:
        print(f"{name} is {short.repr(values[name])[: 2 * HINT_MAX]}", file=sys.stderr)


def show_table(source):
    """Prints a row of the table that the code names, as rows() reads it, where the csv
    module reads it otherwise: one with text in a column of numbers if there is any, since
    that is what code trips over."""
    for name in re.findall(r"""["']([^"'\n]+\.\w+)["']""", source):
        try:
            table = rows(name) if os.path.getsize(name) <= TABLE_MAX else []
        except (OSError, ValueError):
            continue
        if not table or list(table[0]) == plain_header(name):
            continue
        at = odd_row(table)
        print(
            f'After `from tablefile import rows` rows("{name}")[{at}] is {repr(table[at])[: 2 * LINE_MAX]}',
            file=sys.stderr,
        )
        return


def odd_row(table):
    """The first row with text where most have numbers, else the first of all."""
    counts = collections.Counter(
        k for row in table for k, v in row.items() if isinstance(v, (int, float))
    )
    mostly = {k for k, n in counts.items() if 2 * n > len(table)}
    return next(
        (at for at, row in enumerate(table) if any(isinstance(row.get(k), str) for k in mostly)), 0
    )


def place_of(filename):
    if filename == NAME:
        return ""
    if filename.startswith(EARLIER):
        return filename[1:-1] + ","
    return os.path.relpath(filename)


def own(filename):
    return (
        filename == NAME
        or filename.startswith(EARLIER)
        or filename.startswith(os.getcwd() + os.sep)
    )


def line(source, number):
    lines = source.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""


def show(number, text, place=""):
    where = f"{place} line {number}" if place else f"line {number}"
    print(f"Error in {where}: {text.strip()[:LINE_MAX]}", file=sys.stderr)


main()
