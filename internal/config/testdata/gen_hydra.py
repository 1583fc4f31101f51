#!/usr/bin/env python3
"""Writes hydra_golden.json: configurations and what the real Hydra makes of them.

    python3 -m venv VENV && VENV/bin/pip install hydra-core==1.3.8
    VENV/bin/python internal/config/testdata/gen_hydra.py > internal/config/testdata/hydra_golden.json

Each case has the files, the overrides and the environment, and either the
resolved tree or the fact that Hydra refuses. The Go test composes the same and
compares. Numbers that JSON lacks are written as strings.
"""

import itertools
import json
import math
import os
import random
import sys
import tempfile
import warnings

import hydra
import omegaconf
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

warnings.filterwarnings("ignore")
cases = []


def plain(value):
    if isinstance(value, dict):
        return {key(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
        return str(value)
    if isinstance(value, bytes):
        return {"bytes": True}
    return value


def key(k):
    if isinstance(k, bool):
        return "true" if k else "false"
    return str(k)


def run(files, overrides, env, version_base):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as f:
                f.write(text)
        saved = dict(os.environ)
        os.environ.clear()
        os.environ.update(env)
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(folder, version_base=version_base):
                cfg = compose("config", overrides=overrides)
                return {"ok": True, "result": plain(OmegaConf.to_container(cfg, resolve=True))}
        except Exception as e:  # noqa: every refusal counts the same
            return {"ok": False, "error": type(e).__name__}
        finally:
            os.environ.clear()
            os.environ.update(saved)


def case(group, files, overrides=(), env=None, version_base="1.3"):
    if isinstance(files, str):
        files = {"config.yaml": files}
    env = env or {}
    out = run(files, list(overrides), env, version_base)
    cases.append({"group": group, "files": files, "overrides": list(overrides), "env": env, **out})


# Scalars, as OmegaConf's loader reads them.
for s in """yes no on off Yes NO On OFF y n true True TRUE false null Null NULL ~ NONE None
1 0 -1 +1 0x1F 0b101 010 08 0o17 1_000 1__0 1e3 1E3 1e-3 1.5e3 1.5e+3 .5 -.5 5. 1.e3 .5e3 .5e+3 1_0.5 inf nan .inf -.inf .Inf .NaN .nan
1:30 1:30:15 12:61 1:30.5 08:30 2024-01-02 2024-01-02T03:04:05Z 1.2.3 abc 'quoted' "1" '1e3' "a\\tb" 1e 0x 1-2 9223372036854775807
<<x =x @x! ? - [] {} [1,2,a] {a:1} {a: 1, b: [x, y]} [yes, no, 1e3, 007] !!str 1 !!int "3" !!float 3 !!bool yes !!null '' 10e-2 -0 +.5 0.0 -0.0 1e400""".replace("\n", " ").split(" "):
    case("scalar", f"a: {s}\n")
for s in ["!!str 1", "!!int '3'", "!!float 3", "!!bool yes", "!!int abc", "{a: 1, b: [x, y]}", "a b c", "a: b", "a #b", "a#b", "'it''s'", "http://x:80/y", "|\n  two\n  lines\n", ">-\n  two\n  lines\n", "!unknown x"]:
    case("scalar", f"a: {s}\n")

# Structure of files.
case("file", "")
case("file", "# only a comment\n")
case("file", "null\n")
case("file", "a: 1\na: 2\n")
case("file", "a:\n  b: 1\n  b: 2\n")
case("file", "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n")
case("file", "a: &x {b: 1}\ne: &y {b: 2, f: 3}\nd:\n  <<: [*x, *y]\n")
case("file", "a: &x [1, 2]\nb: *x\n")
case("file", "7: a\ntrue: b\n2.5: c\n")
case("file", "a: 1\n---\nb: 2\n")
case("file", "a:\n\tb: 1\n")
case("file", "a: [1, 2\n")
case("file", "? [a, b]\n: 1\n")
case("file", "a: b: c\n")
case("file", "a: *nothing\n")
case("file", "a: '${b'\n")
case("file", "a: ???\n")
case("file", "a: {b: ???, c: 1}\n")

# Defaults lists.
DB = {
    "db/mysql.yaml": "driver: mysql\nport: 3306\nuser: root\n",
    "db/postgres.yaml": "driver: postgres\nport: 5432\n",
    "db/base.yaml": "timeout: 10\nport: 1\n",
    "db/derived.yaml": "defaults:\n  - base\nport: 2\n",
    "db/derived_self_first.yaml": "defaults:\n  - _self_\n  - base\nport: 2\n",
    "db/deep/inner.yaml": "defaults:\n  - /db/base\n  - ../mysql@_here_\ninner: 1\n",
    "db/nested/one.yaml": "defaults:\n  - db\nfrom: one\n",
    "db/global.yaml": "# @package _global_\nroot_key: 1\ndb: {driver: global}\n",
    "db/elsewhere.yaml": "# @package a.b\nx: 1\n",
    "server/apache.yaml": "defaults:\n  - /db: mysql\n  - /db@backup: postgres\nname: apache\nport: 80\n",
    "server/nginx.yaml": "defaults:\n  - site: main\nname: nginx\nport: 81\n",
    "server/site/main.yaml": "host: main\n",
    "server/site/alt.yaml": "host: alt\n",
    "server/overrider.yaml": "defaults:\n  - override /db: postgres\nname: overrider\n",
    "server/cyclic.yaml": "defaults:\n  - cyclic\n",
}


def db(config, **more):
    return {"config.yaml": config, **DB, **more}


DEFAULTS = [
    "defaults:\n  - db: mysql\na: 1\n",
    "defaults:\n  - _self_\n  - db: mysql\ndb: {port: 9, extra: x}\n",
    "defaults:\n  - db: mysql\n  - _self_\ndb: {port: 9, extra: x}\n",
    "defaults:\n  - db: mysql\ndb: {port: 9}\n",
    "defaults:\n  - db: derived\n",
    "defaults:\n  - db: derived_self_first\n",
    "defaults:\n  - db/mysql\n",
    "defaults:\n  - /db/mysql\n",
    "defaults:\n  - db/mysql@x.y\n",
    "defaults:\n  - db@src: mysql\n  - db@dst: postgres\n",
    "defaults:\n  - db@_global_: mysql\n",
    "defaults:\n  - db@_here_: mysql\n",
    "defaults:\n  - db@_group_.sub: mysql\n",
    "defaults:\n  - db: null\n",
    "defaults:\n  - db: ~\n  - server: nginx\n",
    "defaults:\n  - db: ???\n",
    "defaults:\n  - db: nothing\n",
    "defaults:\n  - optional db: nothing\na: 1\n",
    "defaults:\n  - optional db: mysql\n",
    "defaults:\n  - db: [mysql, base]\n",
    "defaults:\n  - db: []\na: 1\n",
    "defaults:\n  - db: [mysql, nothing]\n",
    "defaults:\n  - optional db: [mysql, nothing]\n",
    "defaults:\n  - db: global\n",
    "defaults:\n  - db: elsewhere\n",
    "defaults:\n  - db@q: elsewhere\n",
    "defaults:\n  - server: apache\n",
    "defaults:\n  - server: apache\n  - override db: postgres\n",
    "defaults:\n  - server: apache\n  - override /db: postgres\n",
    "defaults:\n  - server: apache\n  - override /db@server.backup: mysql\n",
    "defaults:\n  - server: apache\n  - override db@server.db: base\n",
    "defaults:\n  - server: nginx\n  - override server/site: alt\n",
    "defaults:\n  - db: mysql\n  - server: overrider\n",
    "defaults:\n  - db: mysql\n  - override db: postgres\n",
    "defaults:\n  - override db: postgres\n  - db: mysql\n",
    "defaults:\n  - override db: postgres\n",
    "defaults:\n  - db: mysql\n  - db: postgres\n",
    "defaults:\n  - db: mysql\n  - db: mysql\n",
    "defaults:\n  - _self_\n  - _self_\n",
    "defaults:\n  - db/deep: inner\n",
    "defaults:\n  - db: deep/inner\n",
    "defaults:\n  - server: cyclic\n",
    "defaults:\n  - config\n",
    "defaults: {db: mysql}\n",
    "defaults: 5\n",
    "defaults: []\na: 1\n",
    "defaults:\n  - 5\n",
    "defaults:\n  - db: 5\n",
    "defaults:\n  - {db: mysql, server: nginx}\n",
    "defaults:\n  - db: mysql\n  - server: ${db}\n",
    "defaults:\n  - db: mysql\n  - db@second: ${db}\n",
    "defaults:\n  - server: nginx\n  - db: mysql\n  - db@${server}: postgres\n",
    "defaults:\n  - db: ${missing}\n",
    "defaults:\n  - db: mysql\n  - db/${db}@copy\n",
    "defaults:\n  - override hydra/job_logging: none\n  - db: mysql\n",
    "defaults:\n  - db: mysql\n  - override hydra/job_logging: none\n",
    "defaults:\n  - nothing\n",
    "defaults:\n  - _self_@x\n",
]
for text in DEFAULTS:
    case("defaults", db(text))
for text, o in itertools.product(DEFAULTS[:12] + DEFAULTS[25:30], ["db=postgres", "db=base", "+db=postgres", "~db", "db=nothing", "~db=mysql", "~db=postgres", "server=nginx", "+server=nginx", "db@src=base", "db=[mysql,base]", "db=null", "db=5"]):
    case("defaults+override", db(text), [o])
for o in [["server=apache", "db=mysql"], ["+server=nginx", "server/site=alt"], ["+server=nginx", "+server/site@x=alt"], ["+db@a.b=mysql"], ["+db@_global_=mysql"], ["++db=mysql"], ["db@x=mysql"], ["+server=apache", "server.port=1"], ["db={port:5}"], ["db.port=5", "db=postgres"], ["+db=[base]"], ["db=deep/inner"], ["db='postgres'"], ["db="], ["nodb=mysql"], ["no/db=mysql"], ["~server"], ["~nothing"], ["hydra.run.dir=x"], ["+db/deep=inner"]]:
    case("group", db("defaults:\n  - db: mysql\na: 1\n"), o)
for text, header in itertools.product(["defaults:\n  - g: x\n", "defaults:\n  - g@p: x\n", "defaults:\n  - g/x\n", "defaults:\n  - g/x@p.q\n"], ["# @package _global_", "# @package a", "# @package a.b", "#@package a", "#   @package   a  ", "\n\n# @package a", "# comment\n# @package a", "# @package _global_.z", "# @package", "# @package a b", "## @package a"]):
    case("header", {"config.yaml": text, "g/x.yaml": header + "\nv: 1\n"})
for header in ["# @package _group_", "# @package _name_", "# @package _group_._name_", "# @package foo._group_"]:
    case("header 1.1", {"config.yaml": "defaults:\n  - g/h: x\n", "g/h/x.yaml": header + "\nv: 1\n"}, version_base="1.1")

# Merging of values.
for first, second in itertools.product(["1", "{x: 1, y: {z: 2}}", "[1, 2]", "null", "???", "${other}", "abc"], repeat=2):
    case("merge", {"config.yaml": "defaults:\n  - one\n  - two\nother: {x: 7, o: 8}\n", "one.yaml": f"a: {first}\n", "two.yaml": f"a: {second}\n"})
    case("merge", {"config.yaml": "defaults:\n  - _self_\n  - one\n  - two\nother: {x: 7, o: 8}\n", "one.yaml": f"a: {first}\n", "two.yaml": f"a: {second}\n"})

# Values on the command line.
TREE = "a: 1\nb: {c: 2, d: {e: x}}\nl: [1, {m: 2}, 3]\nn: null\ns: text\nr: ${s}\nq: ???\n"
for o in """a=2 a= a=null a=NULL a=true a=TRUE a=yes a=1e-3 a=1e3 a=.5 a=5. a=inf a=-inf a=nan a=1_000 a=0123 a=0x10 a=abc a=a-b a=a/b a=a:b a=http://h:80/p a='' a="" a='x' a="x" a='a,b' a='it\\'s' a="say\\"x\\"" a='\\\\' a='a\\\\b' a=[] a=[1] a=[1,2,x] a=[[1],[2]] a={} a={x:1} a={x:{y:2}} a={x:[1,2]} a=[{x:1},2] a={x:1,y:'2'} a=${b.c} a=${b} a=x${b.c}y a='${b.c}' a=\\${b} a=1,2 a=[1,2 a={x:1 a=x=y a=x\\=y a=x\\,y a=a\\:b a=\\\\x a=(x) a=f(x) a=choice(1,2) a=é a=@x a=* a=a*b a=%x a=$x a=a$b a=a|b a=a? a=-x a=--x a=- a=+5 a=+x a=1.5.2 a=1-2 a=a; a=#x a=!x a=~/x a=<x a=x&y a=a\\ b a=/abs/path.gguf a=C:\\x a={1:2} a={true:2} a={null:2} a={a\\:b:2} a={x:} a={:1} a=[,] a=[1,] a=[null,true,1.5]
+a=2 ++a=2 ~a ~a=1 ~a=2 +new=1 ++new=1 new=1 ~new b.c=3 b.x=3 +b.x=3 ++b.x=3 b=5 b={c:9} b={x:9} +b={x:9} ++b={x:9} b={d:{e:1}} b={d:{f:1}} b=null b=[1] a.x=1 +a.x=1 ++a.x=1 n=1 n.x=1 +n=5 +n.x=1 n={x:1} ~n s=5 l=[9] l=5 l.0=9 l.1.m=5 l.1.z=5 +l.1.z=5 l.9=1 +l.3=4 +l=[9] ~l ~l.0 ~b.c ~b.c=2 ~b.c=3 ~b ~b.d.e=x r=5 ~r +r=1 r.x=1 q=1 q.x=1 ~q +q=1 +q.x=1 +x.y.z=1 x.y.z=1 +x={y:1} +x.0=1 b.d.e=null ~b.nothing b..c=1 .a=1 a.=1 =1 a a@b=1 a/b=1 a-b=1 +a-b=1 1a=1 +1a=1 $a=1 +$a=1 +_x=1 +x.y-z=1 ~s=text ~s=other ~l=[1] hydra.job.name=x""".replace("\n", " ").split(" "):
    case("value", TREE, [o])
for o in [["a=x y z"], ["a= x "], ["a='x' "], ["a= [ 1 , 2 ] "], ["a={ x : 1 , y : 2 }"], ["a=x : y"], ["a= "], ["a=f (x)"], ["a=\tx"], ["a='x y', b"], ["a='a' 'b'"], ["a=a'b'"], ["a=a[0]"], ["a='  x '"], ["a=\"it's\""], ["a=[a b, c d]"], ["a={a b: c d}"], ["b.c=1", "b.c=2"], ["+x=1", "~x"], ["+x=1", "x=2"], ["~a", "+a=2"], ["b={c:1}", "b.c=5"], ["a=1\n2"], ["+x.y=1", "+x.z=2"], ["+x=[1]", "+x=[2]"], ["+x=[1]", "x.0=5"], ["a=${oc.env:X}"], ["a=${oc.env:X,'a b'}"], ["a=x${oc.env:X,1}"]]:
    case("value", TREE, o)

# Interpolation.
INTER = ["${b.c}", "${b}", "${ b.c }", "${b[c]}", "${[b][c]}", "${b.d.e}", "${l[0]}", "${l.0}", "${l[1].m}", "${l.1[m]}", "${l[-1]}", "${l[9]}", "${l[x]}", "${nothing}", "${b.nothing}", "${a.x}", "x${b.c}", "${b.c}${b.c}", "${b.c} ", " ${b.c}", "'${b.c} '", "x ${b} y", "x ${l} y", "${n}", "x${n}", "${t}", "x${t}", "x${f}", "x${g}", "${q}", "x${q}", "${r}", "x${r}", "${self}", "${.b}", "${.b.c}", "${..b}", "${${k}}", "${b.${k2}}", "${${k}.c}", "${b[${k2}]}", "x${${k}.c}y", "${num}", "${b.${num}}", "\\${b.c}", "\\\\${b.c}", "\\\\\\${b.c}", "a\\b${b.c}", "a\\\\b${b.c}", "$", "$x", "${", "${}", "${b.c", "${b..c}", "${b.c.}", "${.}", "$${b.c}", "{${b.c}}", "}${b.c}{", "${b c}", "${oc.env:X}", "${oc.env:NO}", "${oc.env:NO,d}", "${oc.env:NO,1}", "${oc.env:NO,null}", "${oc.env:NO,true}", "${oc.env:NO,1.50}", "${oc.env:NO,'a, b'}", '${oc.env:NO,"q"}', "${oc.env:NO,[1,a]}", "${oc.env:NO,{x: 1}}", "${oc.env:NO,${b.c}}", "${oc.env:NO,${b.d}}", "${oc.env:NO,http://h:80/p}", "${oc.env:NO,a b}", "${oc.env:NO, a }", "${oc.env:NO,}", "${oc.env:}", "${oc.env}", "${oc.env:X,a,b}", "${oc.env:NO,a=b}", "${oc.env:NO,a\\,b}", "${oc.env:NO,'it\\'s'}", "${oc.env:NO,'${b.c}'}", "${oc.env:NO,'x${b.c}'}", "${oc.env:NO,x${b.c}y}", "${oc.env:NO,a(b)}", "${oc.env:NO,~/x}", "${oc.env:NO,é}", "${oc.env:NO,'é'}", "${oc.env: X }", "${ oc.env:X}", "${oc.env:${envname}}", "${oc.env:'X'}", "${oc.env:N1}", "${oc.env:EMPTY}", "a${oc.env:X}b", "${oc.select:b.c}", "${oc.select:b.nothing}", "${oc.select:b.nothing,5}", "${oc.select:b.nothing,${b.c}}", "${oc.select:q,7}", "${oc.select:b}", "${oc.select:.b}", "${oc.select:n,5}", "${oc.select:nothing,null}", "${oc.select:'b.c'}", "${oc.decode:'1'}", "${oc.decode:${oc.env:N1}}", "${oc.decode:${oc.env:LIST}}", "${oc.decode:${oc.env:REF}}", "${oc.decode:null}", "${oc.decode:'a b'}", "${oc.decode:'[1'}", "${oc.decode:'{a: 1}'}", "${oc.decode:5}", "${oc.nothing:x}", "${env:X}", "${nope:x}", "${oc.env:X}${oc.env:X}", "${c1}", "${up}", "['${b.c}', x]", "{k: '${b.c}', m: '${.k}'}", "{k: {m: '${..z}'}, z: 3}", "[1, '${.0}']", "['${..b.c}']", "${mk}", "${lst}", "${alias.c}", "${alias.d.e}", "${chain.c}", "${deep}", "${b.x-y}", "${b.x y}", "${b.$z}", "${b.é}", "${B.c}", "${esc}", "x${esc}"]
for s in INTER:
    q = s if s.startswith(("[", "{k")) else json.dumps(s)
    text = "b: {c: 2, d: {e: deep}, x-y: dash, é: accent}\nl: [1, {m: 2}, 3]\nn: null\nt: true\nf: 1.0\ng: 1.0e-05\nq: ???\nr: ${b.c}\nk: b\nk2: c\nnum: 5\nenvname: X\nc1: ${c2}\nc2: ${c1}\nup: {in: '${up}'}\nmk: {x: '${.y}', y: '${..b.c}'}\nlst: ['${..b.c}', '${.0}']\nalias: ${b}\nchain: ${alias}\ndeep: {a: {b: '${...b.c}'}}\nesc: '\\${b}'\nB: {}\na: 1\n"
    for k in ["c1: ${c2}\nc2: ${c1}\n", "up: {in: '${up}'}\n"]:
        if s not in ("${c1}", "${up}"):
            text = text.replace(k, "")
    case("interpolation", text + f"z: {q}\nself: 1\n", env={"X": "ex", "N1": "1", "EMPTY": "", "LIST": "[1,a,{b:2}]", "REF": "${b.c}"})

# Random trees: several files, packages and overrides at once.
rnd = random.Random(20240607)


def tree(depth=0):
    if depth == 3 or rnd.random() < 0.4:
        return rnd.choice(["1", "x", "null", "true", "[1, 2]", "${a}", "'${a.x}'", "???", "1.5", "{}"])
    keys = rnd.sample(["a", "b", "x", "y"], rnd.randint(1, 3))
    return "{" + ", ".join(f"{k}: {tree(depth + 1)}" for k in keys) + "}"


def body():
    return "".join(f"{k}: {tree(1)}\n" for k in rnd.sample(["a", "b", "x"], rnd.randint(1, 3)))


for _ in range(250):
    files = {}
    for g, o in itertools.product(["g", "h"], ["one", "two"]):
        head = rnd.choice(["", "", "", "# @package _global_\n", "# @package a\n", "# @package a.b\n"])
        sub = rnd.choice(["", "", "defaults:\n  - base\n", "defaults:\n  - _self_\n  - base\n", "defaults:\n  - /h/base@here\n"])
        files[f"{g}/{o}.yaml"] = head + sub + body()
    files["g/base.yaml"], files["h/base.yaml"] = body(), body()
    lines = [rnd.choice(["g: one", "g: two", "g@a: one", "g@_global_: two", "g: [one, two]", "optional g: nothing", "g: null"]), rnd.choice(["h: one", "h: two", "h/one", "h@x.y: two"]), "_self_"]
    rnd.shuffle(lines)
    if rnd.random() < 0.3:
        lines.append(rnd.choice(["override g: two", "override h: one", "override h@x.y: one"]))
    files["config.yaml"] = "defaults:\n" + "".join(f"  - {x}\n" for x in lines) + body()
    overrides = rnd.sample(["g=two", "h=one", "+a.z=1", "a.x=5", "++b.y={k:1}", "~x", "g.a=1", "h.b=[1]", "+h@n=two", "~g", "x=null", "++x.y.z=2"], rnd.randint(0, 3))
    case("random", files, overrides)

# Sweeps.
sweeps = []
for args in [["a=1,2"], ["a=1,2", "b=x,y"], ["a=choice(1,2)"], ["a='x,y'"], ["a=[1,2],[3]"], ["a={x:1},{y:2}"], ["a=1", "b=2,3", "a=4,5"], ["+a=1,2"], ["llm=hf,openai", "t=0,1"], ["a=choice()"], ["a=choice(choice(1,2))"], ["a=null,true"], ["a='a b',c"], ["a=1,"]]:
    try:
        batches = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(args), None)
        sweeps.append({"args": args, "ok": True, "jobs": batches[0]})
    except Exception as e:
        sweeps.append({"args": args, "ok": False, "error": type(e).__name__})

# Files recur, so each text is written once and cases refer to it by number.
texts = sorted({text for c in cases for text in c["files"].values()})
number = {text: i for i, text in enumerate(texts)}
for c in cases:
    c["files"] = {name: number[text] for name, text in c["files"].items()}


def lines(items):
    return "[\n" + ",\n".join(json.dumps(i, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for i in items) + "\n]"


print('{"hydra":"%s","omegaconf":"%s",' % (hydra.__version__, omegaconf.__version__))
print('"texts":' + lines(texts) + ',\n"cases":' + lines(cases) + ',\n"sweeps":' + lines(sweeps) + "}")
