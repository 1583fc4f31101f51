"""Keeps the variables of one call for the next one. Comes before run.py.

What is kept is read again only here, inside the sandbox, by the same untrusted
code that wrote it. Data is pickled, each variable by itself and in a file of
its own; modules are imported again; functions and classes are kept as source
and defined again. Only what the new code names is brought back.
"""

import ast
import importlib
import io
import json
import linecache
import os
import pickle
import sys
import textwrap
import types
import uuid

EARLIER = "<earlier "
VALUE_BYTES_MAX = 8 << 20
NAMES_MAX = 300
SOURCE_MAX = 100_000
EVERYTHING = {"globals", "locals", "vars", "eval", "exec", "dir"}


class TooLarge(Exception):
    pass


class Bounded(io.BytesIO):
    def write(self, data):
        if self.tell() + memoryview(data).nbytes > VALUE_BYTES_MAX:
            raise TooLarge
        return super().write(data)


class State:
    """The kept variables in one folder; without a folder nothing is kept."""

    def __init__(self, folder):
        self.folder = folder
        self.names, self.lost, self.loaded = {}, {}, set()
        if folder is None:
            return
        self.lock = open(os.path.join(folder, "lock"), "w")
        try:
            import fcntl

            fcntl.flock(self.lock, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        try:
            with open(os.path.join(folder, "index.json"), encoding="utf-8") as f:
                index = json.load(f)
            self.names, self.lost = dict(index["names"]), dict(index["lost"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or damaged: begin anew

    def restore(self, tree, namespace):
        """Brings back what the code names, and before it what that needs."""
        wanted = names_in(tree)
        if wanted & EVERYTHING:
            wanted = set(self.names)
        begun = set()
        for name in list(self.names):
            if name in wanted:
                self.bring(name, namespace, begun)

    def bring(self, name, namespace, begun):
        if name not in self.names or name in begun:
            return
        begun.add(name)
        try:
            entry = self.names[name]
            for other in self.needs(entry):
                self.bring(other, namespace, begun)
            namespace[name] = self.load(name, entry, namespace)
            self.loaded.add(name)
        except BaseException as error:
            self.lose(name, f"it can't be made again ({type(error).__name__}: {error})")

    def needs(self, entry):
        if entry.get("main"):  # made of classes of earlier code, which is not said by name
            return [n for n, e in self.names.items() if e.get("kind") == "source"]
        return entry.get("uses", ())

    def load(self, name, entry, namespace):
        kinds = {"module": self.load_module, "source": self.load_source, "pickle": self.load_pickle}
        return kinds[entry["kind"]](name, entry, namespace)

    def load_module(self, name, entry, namespace):
        return importlib.import_module(entry["module"])

    def load_source(self, name, entry, namespace):
        place = f"{EARLIER}{name}>"
        text = entry["text"]
        linecache.cache[place] = (len(text), None, text.splitlines(True), place)
        stdout, sys.stdout = sys.stdout, io.StringIO()  # it has been printed once
        try:
            exec(compile(text, place, "exec"), namespace)
        finally:
            sys.stdout = stdout
        return namespace[name]

    def load_pickle(self, name, entry, namespace):
        with open(os.path.join(self.folder, os.path.basename(entry["file"])), "rb") as f:
            return pickle.load(f)

    def lose(self, name, why):
        self.names.pop(name, None)
        if len(self.lost) < NAMES_MAX:
            self.lost[name] = why[:200]

    def save(self, namespace, source, tree, before):
        """Keeps what the code has left, as far as it can be kept."""
        if self.folder is None:
            return
        defined = definitions(source, tree)
        for name in self.loaded - namespace.keys():
            self.names.pop(name, None)  # the code deleted it
        for name, value in list(namespace.items()):
            if name in before or name.startswith("_"):
                continue
            self.lost.pop(name, None)
            try:
                entry = self.entry(name, value, defined)
            except TooLarge:
                self.lose(name, f"it has more than {VALUE_BYTES_MAX >> 20} MiB")
            except BaseException:
                self.lose(name, f"a {type(value).__name__} can't be kept")
            else:
                self.names[name] = entry
        while len(self.names) > NAMES_MAX:
            self.names.pop(next(iter(self.names)))
        self.write()

    def entry(self, name, value, defined):
        if isinstance(value, types.ModuleType):
            importlib.import_module(value.__name__)
            return {"kind": "module", "module": value.__name__}
        if (
            getattr(value, "__module__", None) == "__main__"
            and getattr(value, "__qualname__", None) == name
        ):
            if name in defined:
                return defined[name]
            if self.names.get(name, {}).get("kind") == "source":
                return self.names[name]
        out = Bounded()
        pickle.Pickler(out, protocol=5).dump(value)
        data = out.getvalue()
        file = uuid.uuid4().hex + ".pickle"
        with open(os.path.join(self.folder, file), "wb") as f:
            f.write(data)
        return {"kind": "pickle", "file": file, "main": b"__main__" in data}

    def write(self):
        index = os.path.join(self.folder, "index.json")
        with open(index + ".new", "w", encoding="utf-8") as f:
            json.dump({"names": self.names, "lost": self.lost}, f)
        os.replace(index + ".new", index)
        kept = {e.get("file") for e in self.names.values()}
        for file in os.listdir(self.folder):
            if file.endswith(".pickle") and file not in kept:
                os.remove(os.path.join(self.folder, file))


def names_in(tree):
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}


def definitions(source, tree):
    """The functions and classes of the code that are not inside others."""
    lines, out, ahead = source.splitlines(), {}, list(tree.body)
    while ahead:
        node = ahead.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno] + [d.lineno for d in node.decorator_list])
            text = textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))
            if len(text) <= SOURCE_MAX:
                out[node.name] = {"kind": "source", "text": text, "uses": sorted(names_in(node))}
            continue
        for field in ("body", "orelse", "finalbody", "handlers"):
            ahead.extend(getattr(node, field, ()))
    return out
