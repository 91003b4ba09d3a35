#!/usr/bin/env python3
"""Writes tests/unit/config/golden/*.jsonl: what real OmegaConf (2.4) reads, writes and resolves.

yaml.jsonl     {"yaml", "json"}: a YAML text and what OmegaConf.load makes of it ("error" instead where it refuses)
write.jsonl    {"json", "yaml"}: values and the text OmegaConf.save writes for them
resolve.jsonl  {"yaml", "path", "json" | "error"}: OmegaConf.select with interpolations resolved
value.jsonl    {"text", "json" | "error"}: one value of the override grammar, as ${oc.decode:…} parses it

Usage: tools/make_config_golden.py [OUTPUT_DIR]      needs omegaconf
"""
import json
import pathlib
import random
import sys

from omegaconf import OmegaConf

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/unit/config/golden")
OmegaConf.register_new_resolver("multiply", lambda x, y: x * y)
OmegaConf.register_new_resolver("sum", lambda x, y: x + y)


def plain(cfg, resolve=False):
    value = OmegaConf.to_container(cfg, resolve=resolve) if OmegaConf.is_config(cfg) else cfg
    return keys_to_text(value)


def keys_to_text(value):
    """Keys as they are spelled: ours are always text."""
    if isinstance(value, dict):
        return {str(k): keys_to_text(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [keys_to_text(v) for v in value]
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, bytes):
        raise TypeError("binary values have no JSON")
    return value


SCALARS = """
1e-5 1.0e-05 1E5 1e5 1e+5 1.e5 .5 -.5 +.5 5. -5. 1_000 1_000.5 0o10 010 0010 08 09.5 0x1F 0X1F -0x10 0b101 -0b1 0b 0_1 00
1:30 1:30:05 -1:30 1:30.5 190:20:30 1:60 12:5 .inf -.inf +.inf .INF .Inf .nan .NaN .NAN -.nan inf nan NaN Infinity
yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE tRue y Y n N t f
null Null NULL ~ nULL none None 2001-01-01 2001-12-14t21:59:43.10-05:00 2001-1-1 12e03 -2E+05 1e 1e- e5 1.2.3 1.2e3.4 + - -- --- ++1 +1 -1 -0 -0.0 0.0
9223372036854775807 -9223372036854775808 9223372036854775808 1000000000000000019884624838656 1e400 -1e400 1e-400 0.1 123456789.123456789
bf16 16-mixed bf16-mixed ??? ${a} a-b a_b a.b a/b /x/y.z http://x.y/z?q=1 C:\\x @x `x %x !x &x *x a#b a:b :a a: -a ?a ?x =x = << <<x <
""".split()

TEXTS = SCALARS + [
    "", " ", "  a", "a  ", "a b", "a: b", "a #b", "a, b", "[a]", "{a}", "'a'", '"a"', "it's", 'say "x"', "a\\b", "a\nb", "a\n", "\na", "a\n\nb",
    "a \nb", "a\n b", "a\tb", "\t", "\ta", "\r", "a\rb", "\u00e9t\u00e9", "\u65e5\u672c\u8a9e", "\U0001f600", "a\u00a0b", "\x7f", "\x1b[0m", "\x07", "\ufeff", "a\ufeffb", "\u0085",
    "- a", "-a", "? a", "?a", "| a", "> a", "%a", "@a", "...", "... a", "--- a", "---a", "a...", "1 2", " 1", "1 ", "1_0", "1__0", "_1", "0x", "0x_", "+.5e3", "1e5_0",
    "infinity", "-infinity", "+nan", "INF", "iNf", "12:30:45", "a photo of a {}.", "a photo of the {}, big", "#", "# a", "a:", "a :b", ":", "::", ",", "!", "&", "*", "|", ">", "'", '"', "%", "@", "`", "[", "]", "{", "}",
    "word " * 30, "word " * 30 + "end", "'word " * 30, "\tword " * 30, "x" * 200, "x" * 79 + " y z", "x" * 80 + " y z", "x" * 81 + " y  z w", "x" * 100 + " " * 5 + "y",
    "a: " + "word " * 40, "caf\u00e9 " * 30, "\U0001f600 " * 30, "line one\nline two " + "word " * 30, "a\n" * 3, "\"quoted\" " * 20, "nemo:0123456789abcdef0123456789abcdef_spm.model",
    "${oc.env:HOME}", "${multiply:${a}, ${b}}", "\\${x}", "a\\\\b", "C:\\path\\${x}", "tab\there " * 20, "null ", "True ",
]

DOCUMENTS = [
    "", "{}", "[]", "# nothing\n", "---\n", "--- {a: 1}\n", "a: 1\n...\n", "%YAML 1.1\n---\na: 1\n", "a: 1\n---\nb: 2\n", "null", "~",
    "a: 1\na: 2\n", "a: {b: 1, b: 2}\n", "a:\n  b: 1\n  c:\n  - 1\n  - - 2\n    - 3\n  - d: 4\n    e: 5\n", "a: [1, 2.5, x, 'y', null, true, [], {}]\n",
    "a: {b: c, d: [e, f], g: {h: i}}\n", "a: {b, c: 1}\n", "a: [b: 1, c: 2]\n", "- 1\n- a: 2\n", "? a\n: 1\n? b\n: 2\n",
    "a: &x {b: 1}\nc: *x\n", "a: &x [1, 2]\nb: [*x, *x]\n", "a: &x 1e-5\nb: *x\n", "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n  e: 4\n",
    "a: &x {b: 1}\nb: &y {b: 2, c: 3}\nd:\n  <<: [*x, *y]\n", "x:\n  c: 1\n  <<: {c: 2, d: 3}\n", "a: &x {<<: {q: 1}, r: 2}\nb: {<<: *x, s: 3}\n", "a: {<<: 1}\n", "a: {<<: [1]}\n",
    "a: &x [*x]\n", "a: *nope\n", "a: !!str 1\n", "a: !!int '3'\n", "a: !!float 1\n", "a: !!float '1e3'\n", "a: !!bool yes\n", "a: !!null ''\n", "a: !!int x\n", "a: !!seq [1]\n", "a: !!map {b: 1}\n", "a: ! 12\n",
    "a: !!python/object/apply:os.system ['echo']\n", "a: !!python/name:os.system\n", "a: !x y\n", "a: !!python/tuple [1, 2]\n", "!!python/object:x.y {a: 1}\n",
    "a: !!python/object/apply:pathlib.PosixPath\n- /x\n- y\n", "a: !!python/object/apply:pathlib.PosixPath [x, y.z]\n", "a: !!python/object/apply:pathlib._local.PosixPath [/x, /y]\n", "a: !!python/object/apply:pathlib.Path []\n",
    "a: |\n  x\n  y\n\n  z\n", "a: |-\n  x\n", "a: |+\n  x\n\n", "a: >\n  x\n  y\n\n  z\n", "a: >-\n  x\n   y\n  z\n", "a: |2\n   x\n", "a: x\n  y\n  z\n", "a: 'x\n  y\n\n  z'\n", "a: \"x\n  y \\\n  z\"\n",
    'a: "\\t\\n\\x41\\u00e9\\U0001F600\\0\\e\\N\\_\\L\\P\\\\\\"\\/"\n', "a: 'it''s'\n", "a: \"\\q\"\n", "a:\tb\n", "\ta: b\n", "a: b\tc\n", "a:\n\t- b\n", "a: b: c\n", "a: 'b' c\n", "a: [1, 2\n", "a: {b: 1\n", "a: ]\n", "a: \"x\n", "a: @b\n", "a: `b\n", "a: %b\n", "a:b\n", "a: - b\n", "- a\nb: c\n", "a: 1\n b: 2\n",
    "1: a\n2.5: b\ntrue: c\nnull: d\n", "2: a\n2.5: b\nfoo: c\nx: d\n", "? [a]\n: b\n", "? {a: 1}\n: b\n", "'1': a\n", "a: 1\r\nb: 2\r\n", "\ufeffa: 1\n", "a: '\u00e9'\n\u65e5: \u672c\n", "=: 1\n", "a: =\n",
    "a: x # comment\n# another\nb: 'y # no'\n", "a:\n- 1\n-\n- 2\n", "a:\nb:\n", "a: [,]\n", "a: [1,]\n", "a: {,}\n", "a: [a, b]: c\n", "a: -\n", "a: - \n", "a: ? b\n", "a: !!binary aGk=\n", "a: !!set {x, y}\n", "a: !!omap [x: 1]\n", "a: !!timestamp 2001-01-01\n", "a: <<\n", "a: {x: &b 1, y: *b}\n", "a: &b\nc: *b\n",
    "a: 1\n\x00b: 2\n", "a: \x01\n", "a: 'x\x7f'\n", "just a scalar", "12",
]

RESOLVE = """
a: 1
b: 2.5
s: text
t: true
n: null
m: ???
neg: -3
l: [1, '${a}', {k: '${.j}', j: 7}, '${l[0]}']
d: {x: 1, y: '${.x}', z: '${..a}'}
dots: {'with.dot': 5}
up: {in: {deep: '${...a}', s2: '${..sib}', s3: '${.near}', near: 9}, sib: 4}
abs: ${d.x}
br: ${l[2].j}
br2: ${[d][x]}
cat: x-${a}-${b}-${t}-${n}-${s}
esc: \\${a}
esc2: \\\\${a}
esc3: a\\b${a}
key: x
nest: ${d.${key}}
nest2: ${${key2}}
key2: d.x
whole: ${d}
wholelist: ${l}
chain: ${chain2}
chain2: ${chain3}
chain3: ${d}
through: ${chain.x}
through2: ${chain.y}
cyc1: ${cyc2}
cyc2: ${cyc1}
self: ${self}
tomissing: ${m}
none: ${nothing}
none2: ${d.nothing}
toohigh: ${.....a}
mul: ${multiply:${a}, 4}
mulf: ${multiply:${b}, 4}
mul2: ${multiply:${multiply:2,3},${neg}}
add: ${sum:${a},${b}}
sel: ${oc.select:d.x}
sel2: ${oc.select:nope,7}
sel3: ${oc.select:nope}
sel4: ${oc.select:m,'dflt'}
sel5: ${oc.select:nope,[1,{a:b}]}
sel6: {q: '${oc.select:.r,3}', r: 8}
dec: ${oc.decode:'1e-3'}
dec2: ${oc.decode:"[1, 'x y', ${a}]"}
dec3: ${oc.decode:null}
dec4: ${oc.decode:'{a: 1, b: ${d.x}}'}
dec5: ${oc.decode:'$'}
create: ${oc.create:{a:1,b:[x]}}
create2: ${oc.create:'a: ${a}'}
keys: ${oc.dict.keys:d}
vals: ${oc.dict.values:d}
keys2: {x: {y: 1}, k: '${oc.dict.keys:.x}', v: '${oc.dict.values:.x}'}
dep: ${oc.deprecated:d.x}
env: ${oc.env:HOME}
unknown: ${divide:4,2}
sp: ${ a }
sp2: ${multiply: 2 , 3 }
sp3: ${oc.select: d.x }
bad: ${
bad2: ${a
bad3: ${}
bad4: ${a b}
bad5: ${.}
boolarg: ${oc.select:nope,TRUE}
nullarg: ${oc.select:nope,null}
strarg: ${oc.select:nope,a b}
quoted: ${oc.select:nope,'it\\'s ${a}'}
escarg: ${oc.select:nope,a\\,b\\:c}
intcat: ${a}${a}
dict: {'${a}': 1}
numkey: {1: one, two: '${numkey.1}'}
lidx: ${l.0}
lneg: ${l[-1]}
loob: ${l[9]}
"""

# Left out, because Hydra or we take more: the empty value, spaces around, quoted keys, letters beyond ASCII.
VALUES = """
1|-1|+1|1_000|010|00|1e-5|1E5|1.|.5|1.5e3|-1.5|inf|-inf|nan|Inf|NaN|true|TRUE|False|null|NULL|none|a|a b|'a b'|"a b"|'a,b'|'it\\'s'|"a\\"b"|'a\\\\'|'a\\b'|''|""
[]|[1]|[1,2]|[1, 2 ,3]|[a,'b c',[1]]|['a dog', "a boy"]|{}|{a:1}|{a:1,b:{c:2}}|{a: 1, b: [x, y]}|{1:2}|{a:b:c}|{a: }|[a b, c]|[[1],[2,[3]]]|[{a:1}]
a/b|./x.nemo|/x/y|a-b|a.b|a:b|http://x/y|a@b|a?|a|b$c|a%b|a*b|a\\,b|a\\=b|\\[x\\]|a\\ |\\  a|a\\:b|a\\\\b|a\\qb|1,2|a,b|a(b)|range(1,3)|choice(a,b)|[1,2|{a:1|'a|a]|a}|{a}|{a:1 b:2}|a'b|[a]b|{a:1}x|'a'b|1 2|1a|1e5x|-|+|--|1__0|0x10|1:30|yes|on
""".strip("\n").replace("\n", "|").split("|")


def write(name, rows):
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / name, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=True) + "\n")


def read_case(text):
    try:
        return {"yaml": text, "json": plain(OmegaConf.create(text) if text.strip() else OmegaConf.create({}))}
    except Exception as error:  # noqa: BLE001: whatever it refuses, we note
        return {"yaml": text, "error": type(error).__name__}


def random_text(rng):
    words = ["a", "bb", "x: y", "#", "'", '"', "\\", " ", "  ", "\n", "\t", "1", "-", "é", "{", "]", ",", "word", "longerword", "\U0001f600", ":", "${x}"]
    return "".join(rng.choice(words) + rng.choice(["", " ", ""]) for _ in range(rng.choice([1, 3, 10, 60])))


def random_value(rng, depth=0):
    pick = rng.random()
    if depth < 4 and pick < 0.25:
        return {random_text(rng) if rng.random() < 0.3 else f"k{i}": random_value(rng, depth + 1) for i in range(rng.randrange(4))}
    if depth < 4 and pick < 0.5:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return rng.choice([None, True, False, rng.randrange(-10**12, 10**12), rng.random() * 10 ** rng.randrange(-30, 30), float(rng.randrange(10**6)), random_text(rng), random_text(rng)])


def main():
    rows = [read_case(f"k: {s}\n") for s in SCALARS] + [read_case(t) for t in DOCUMENTS]
    write("yaml.jsonl", rows)

    rng = random.Random(20)
    values = [{"k": t} for t in TEXTS] + [{t: 1} for t in TEXTS] + [[t] for t in TEXTS] + [{"a": {"b": [t]}} for t in TEXTS]
    values += [{"a": v} for v in (1e-5, 1e20, 1e16, 1e15, 123456789.125, 0.1, -0.0, 5e-324, 1.7976931348623157e308, 3, -3, True, None, [], {}, [[]], [{}], [[1, [2, 3]], {"a": [4]}])]
    values += [{}, [], [[], [[]]], {"a": {"b": {"c": {}}}}]
    values += [random_value(rng) for _ in range(300)]
    rows = []
    for value in values:
        if not isinstance(value, (dict, list)):
            value = {"v": value}
        try:
            rows.append({"json": value, "yaml": OmegaConf.to_yaml(OmegaConf.create(value))})
        except Exception:  # noqa: BLE001: keys and interpolations that OmegaConf itself refuses
            pass
    write("write.jsonl", rows)

    values = dict(line.split(": ", 1) for line in RESOLVE.strip().split("\n"))
    values = {k: v if v.startswith(("$", "x", "\\", "a")) else OmegaConf.create(f"v: {v}")._content["v"] for k, v in values.items()}
    for key, value in list(values.items()):
        try:
            OmegaConf.create({key: value})
        except Exception:  # noqa: BLE001: refused when built; interpolation_test.cc has such grammar errors of its own
            del values[key]
    cfg = OmegaConf.create(values)
    rows = []
    for key in [k for k in cfg if k not in ("m", "env")] + ["l[1]", "l[2].k", "d.z", "up.in.deep", "up", "nothing", "d.nothing", "dots.with\\.dot", "sel6", "keys2"]:
        try:
            node = cfg[key] if key in cfg else OmegaConf.select(cfg, key, throw_on_resolution_failure=True)
            if key in ("nothing", "d.nothing"):
                raise KeyError(key)
            rows.append({"path": key, "json": plain(node, resolve=True)})
        except Exception as error:  # noqa: BLE001
            rows.append({"path": key, "error": type(error).__name__})
    write("resolve.jsonl", [{"yaml": OmegaConf.to_yaml(cfg)}] + rows)

    rows = []
    for text in VALUES:
        try:
            value = OmegaConf.create({"t": text.replace("${", "\\${"), "v": "${oc.decode:${t}}"}).v
            rows.append({"text": text, "json": plain(value)})
        except Exception as error:  # noqa: BLE001
            rows.append({"text": text, "error": type(error).__name__})
    write("value.jsonl", rows)


main()
