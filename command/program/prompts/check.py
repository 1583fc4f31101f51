"""Parses Python sources, which come as JSON on standard input, and tells of each
what is wrong with it and what it defines. Nothing of them runs."""

import ast
import json
import sys
import warnings

KEPT = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
)


def look(name, code):
    try:
        tree = ast.parse(code, name)
        compile(code, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        return {"line": error.lineno or 1, "error": f"{type(error).__name__}: {error.msg}"}
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return {"line": 1, "error": f"{type(error).__name__}: {error}"}
    return {
        "functions": [function(node) for node in tree.body if isinstance(node, ast.FunctionDef)],
        "loose": loose(tree.body),
        "assigned": sorted(set(assigned(tree.body))),
        "stdin": any(reads(node) for node in ast.walk(tree)),
    }


def function(node):
    a = node.args
    named = a.posonlyargs + a.args
    optional = len(named) - len(a.defaults)
    out = [{"name": arg.arg, "optional": i >= optional} for i, arg in enumerate(named)]
    out += [
        {"name": arg.arg, "optional": default is not None}
        for arg, default in zip(a.kwonlyargs, a.kw_defaults)
    ]
    return {"name": node.name, "line": node.lineno, "arguments": out}


def loose(body):
    """The statements that do something when the code is loaded, such as a call
    that tries out a function, without those that share a line with others."""
    kept = set()
    for node in body:
        if isinstance(node, KEPT):
            kept.update(range(first_line(node), node.end_lineno + 1))
    out = []
    for i, node in enumerate(body):
        if isinstance(node, KEPT) or i == 0 and text(node):
            continue
        if kept.isdisjoint(range(node.lineno, node.end_lineno + 1)):
            out.append([node.lineno, node.end_lineno])
    return out


def first_line(node):
    return min([node.lineno] + [d.lineno for d in getattr(node, "decorator_list", [])])


def text(node):
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def assigned(body):
    for node in body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    yield part.id


def reads(node):
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "stdin"
        or isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "input"
    )


def main():
    warnings.simplefilter("ignore")
    sources = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    json.dump([look(s["name"], s["code"]) for s in sources], sys.stdout)


main()
