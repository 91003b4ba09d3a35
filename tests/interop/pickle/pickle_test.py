"""Pickles of every kind as anemone's reader takes them, beside Python's unpicklers, in C and in Python, and torch's of weights alone.
Where Python's two agree, a value is the same or refused; where they do not, it is refused.

usage: pickle_test.py PICKLE_VALUES [--count N] [--seed S]
"""

import argparse
import _codecs
import collections
import copy
import copyreg
import io
import pickle
import random
import struct
import subprocess
import sys
import warnings

import pickles

try:
    import torch
    from torch import _weights_only_unpickler as weights_only
except ImportError:
    torch = None

MAX_DEPTH = 150
REAL = {("builtins", "set"): set, ("builtins", "frozenset"): frozenset, ("builtins", "bytearray"): bytearray, ("builtins", "bytes"): bytes,
        ("builtins", "getattr"): getattr, ("_codecs", "encode"): _codecs.encode, ("copyreg", "__newobj_ex__"): copyreg.__newobj_ex__}  # fmt: skip


class Refused(Exception):
    pass


class NotJudged(Exception):
    pass


# --- Python's unpicklers over classes that remember what is done to them


class Class(type):
    def __call__(cls, *args):
        return called(cls, cls, args)

    def __getattr__(cls, name):
        """A class inside it, as protocols before 4 name it."""
        if name.startswith("_"):
            raise AttributeError(name)
        module, outer = cls.global_name.split(" ", 1)
        return cls.names.of(module, f"{outer}.{name}")


class Object(metaclass=Class):
    def __new__(cls, *args, **keywords):
        return called(cls, cls, args, keywords, is_new=True)

    def __call__(self, *args):
        return called(Object, self, args)

    def __setstate__(self, state):
        if self.states:
            raise Refused("a second state")
        self.states.append(state)

    def extend(self, items):
        self.appended.extend(items)

    def append(self, item):
        self.appended.append(item)

    def __setitem__(self, key, item):
        self.entries[key] = item


# What keeps only copies of what is in its arguments; the real ones judge that.
COPYING = ["collections OrderedDict", "collections Counter", "collections defaultdict", "collections deque", "builtins dict", "builtins list", "builtins tuple", "torch Size"]


def called(cls, callable, args, keywords={}, is_new=False):
    made, entries, name = object.__new__(cls), {}, getattr(callable, "global_name", "")
    if name in COPYING:
        args = tuple(copy.copy(arg) if type(arg) in (list, dict, set) else arg for arg in args)
        is_pairs = len(args) == 1 and type(args[0]) in (list, tuple) and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in args[0])
        is_dict = len(args) == 1 and type(args[0]) is dict
        if not is_new and (name == COPYING[0] and is_pairs or name in COPYING[:2] and is_dict):
            args, entries = (), dict(args[0])
    made.callable, made.args, made.keywords, made.is_new, made.states, made.appended, made.entries = callable, args, keywords, is_new, [], [], entries
    return made


class PersistentId:
    def __init__(self, pid):
        self.pid = pid

    def __call__(self, *args):
        return called(Object, self, args)


class Names:
    """Classes by name, each one once in an unpickler."""

    def __init__(self):
        self.classes = {}

    def of(self, module, name):
        for part in (module, name):
            if not part or any(c <= " " or c == "\x7f" for c in part):
                raise Refused("name")
        known = REAL.get((module, name))
        if known is not None:
            return known
        return self.classes.setdefault((module, name), Class("C", (Object,), {"global_name": f"{module} {name}", "names": self}))


def modern(module, name, protocol):
    if protocol < 3:
        compat = pickle._compat_pickle
        if (module, name) in compat.NAME_MAPPING:
            return compat.NAME_MAPPING[module, name]
        return compat.IMPORT_MAPPING.get(module, module), name
    return module, name


def judging(load, below):
    """The opcode, whose callee lies so far below the top. A real function that refuses its arguments says nothing of a reader of calls."""

    def call(unpickler):
        callee = unpickler.stack[-1 - below]
        try:
            load(unpickler)
        except Exception:
            raise NotJudged if any(callee is known for known in REAL.values()) else Refused from None

    return call


class InPython(pickle._Unpickler):
    dispatch = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: judging(pickle._Unpickler.load_reduce, 1),
        pickle.NEWOBJ[0]: judging(pickle._Unpickler.load_newobj, 1),
        pickle.NEWOBJ_EX[0]: judging(pickle._Unpickler.load_newobj_ex, 2),
    }

    def __init__(self, data):
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.names, self.found = Names(), []

    def _decode_string(self, value):
        try:
            return super()._decode_string(value)
        except UnicodeDecodeError:  # anemone reads bytes
            raise NotJudged from None

    def find_class(self, module, name):
        modern_name = modern(module, name, self.proto)
        if self.proto < 4 and "." in name:  # which Python takes for one attribute of the module: none has it
            raise NotJudged
        self.found.append(((module, name), modern_name))
        return self.names.of(*modern_name)

    def persistent_load(self, pid):
        return PersistentId(pid)


class InC(pickle.Unpickler):
    """Names are found as they were in Python: the C unpickler does not tell its protocol."""

    def __init__(self, data, found):
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.names, self.found = Names(), iter(found)

    def find_class(self, module, name):
        known, modern_name = next(self.found, (None, None))
        return self.names.of(*(modern_name if known == (module, name) else (module, name)))

    def persistent_load(self, pid):
        return PersistentId(pid)


# --- and over the classes that torch.load allows

if torch is not None:
    ALLOWED = weights_only._get_allowed_globals()


class Restricted(pickle.Unpickler):
    def __init__(self, data):
        super().__init__(io.BytesIO(data), encoding="utf-8")

    def find_class(self, module, name):
        for allowed in (f"{module}.{name}", "{}.{}".format(*modern(module, name, 2))):
            if allowed in ALLOWED and not allowed.startswith("torch._utils"):
                return ALLOWED[allowed]
        raise Refused(name)

    def persistent_load(self, pid):
        return PersistentId(pid)


def load_torch(data):
    unpickler = weights_only.Unpickler(io.BytesIO(data), encoding="utf-8")
    unpickler.persistent_load = PersistentId
    return unpickler.load()


def attempt(load, data):
    """What is shown of the value; None where it is refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Shower().whole(load(data))
    except (NotJudged, RecursionError):
        return b"deep"
    except MemoryError:
        return None
    except Exception:
        return None


class Shower:
    """A value as pickle_values.cc shows it."""

    def __init__(self):
        self.numbers, self.kept, self.out = {}, [], []

    def whole(self, value):
        self.show(value, 0)
        return b"".join(self.out)

    def known(self, value):
        self.kept.append(value)
        number = self.numbers.setdefault(id(value), len(self.numbers))
        first = len(self.numbers) - 1 == number and id(value) not in self.shown
        self.shown.add(id(value))
        self.out.append(b"%s%d " % (b"#" if first else b"@", number))
        return not first

    shown = None

    def items(self, start, items, end, depth):
        self.out.append(start)
        for item in items:
            self.show(item, depth + 1)
        self.out.append(end)

    def pairs(self, start, entries, end, depth):
        self.items(start, [part for pair in entries.items() for part in pair], end, depth)

    def members(self, start, value, depth):
        self.out.append(start)
        shown = []
        for member in value:
            alone = Shower()
            alone.show(member, depth + 1)
            shown.append(b"".join(alone.out))
        self.out.extend(sorted(shown))
        self.out.append(b"end ")

    def show(self, value, depth):
        if self.shown is None:
            self.shown = set()
        if depth > MAX_DEPTH:
            raise NotJudged
        kind, out = type(value), self.out
        if value is None or kind in (bool, int):
            out.append(b"%s " % str(value).encode())
        elif kind is float:
            out.append(b"nan " if value != value else b"f%s " % struct.pack(">d", value).hex().encode())
        elif kind is str:
            raw = value.encode("utf-8", "surrogatepass")
            out.append(b"s%d:%s " % (len(raw), raw))
        elif kind is bytes:
            out.append(b"b%d:%s " % (len(value), value))
        elif kind is tuple:
            self.items(b"( ", value, b") ", depth)
        elif kind is frozenset:
            self.members(b"frozenset ", value, depth)
        elif isinstance(value, Class):
            out.append(b"g%s " % value.global_name.encode("utf-8", "surrogatepass"))
        elif isinstance(value, type) or kind.__name__ in ("builtin_function_or_method", "function"):
            name = next((" ".join(name) for name, known in REAL.items() if known is value), f"{value.__module__} {value.__name__}")
            out.append(b"g%s " % name.encode())
        elif kind.__module__.startswith("torch") and not isinstance(value, tuple):
            out.append(f"torch {kind} {value!r} ".encode())
        elif self.known(value):
            pass
        elif kind is bytearray:
            out.append(b"y%d:%s " % (len(value), bytes(value)))
        elif kind is set:
            self.members(b"set ", value, depth)
        elif kind is list:
            self.items(b"[ ", value, b"] ", depth)
        elif kind is dict:
            self.pairs(b"{ ", value, b"} ", depth)
        elif kind is PersistentId:
            self.items(b"p( ", [value.pid], b") ", depth)
        elif isinstance(value, Object):
            out.append(b"new " if value.is_new else b"call ")
            self.show(value.callable, depth + 1)
            self.items(b"( ", value.args, b") ", depth)
            self.pairs(b"keywords ", value.keywords, b"end ", depth)
            out.append(b"state ")
            for state in value.states:
                self.show(state, depth + 1)
            self.items(b"appended ", value.appended, b"end ", depth)
            self.pairs(b"entries ", value.entries, b"end ", depth)
        else:  # a real object of an allowed class
            out.append(b"%s " % kind.__name__.encode())
            if isinstance(value, dict):
                self.pairs(b"{ ", value, b"} ", depth)
            elif isinstance(value, tuple):
                self.items(b"( ", value, b") ", depth)
            else:
                out.append(repr(value).encode())
            if getattr(value, "__dict__", None):
                self.pairs(b"attributes ", value.__dict__, b"end ", depth)


# --- comparison


def read_all(program, made):
    """Of each pickle: what is shown of its value, or nothing; the pickle written of it, or the message."""
    out = subprocess.run([program], input=b"".join(struct.pack("<I", len(p)) + p for p in made), stdout=subprocess.PIPE, check=True).stdout
    answers, at = [], 0
    for _ in made:
        pair = []
        for _ in range(2):
            (size,) = struct.unpack_from("<I", out, at)
            pair.append(out[at + 4 : at + 4 + size])
            at += 4 + size
        answers.append(pair)
    return answers


def by_python(data):
    """What the two unpicklers show, and whether a real function was named."""
    unpickler = []

    def load(data):
        unpickler.append(InPython(data))
        return unpickler[0].load()

    one = attempt(load, data)
    found = unpickler[0].found
    return one, attempt(lambda data: InC(data, found).load(), data), any(name in REAL for _, name in found)


def fault(data, shown, written):
    """The name of what is wrong; None where all is well, and what is not to be judged."""
    if not shown:
        return None
    in_python, in_c, is_real = by_python(data)
    if b"deep" in (shown, in_python, in_c):
        return None
    if in_python != in_c:
        return "read, though Python's unpicklers disagree" if not is_call_kept(shown) else None
    if in_python is None:  # for what it made of a real function, perhaps, which here stays a call
        return "read, though Python refuses it" if not is_real else None
    if shown != in_python and not is_call_kept(shown):
        return "read as another value"
    if written and by_python(written)[:2] != (in_python, in_c):
        return "written as another value"
    if torch is None:
        return None
    for name, load in (("torch", load_torch), ("the classes that torch allows", lambda data: Restricted(data).load())):
        real = attempt(load, data)
        if real not in (None, b"deep") and written and attempt(load, written) not in (None, real):
            return f"another value by {name}"
    return None


def is_call_kept(shown):
    """A call of a real function that stays a call: whether Python makes something of it is not looked at."""
    return any(b"g%s %s ( " % (module.encode(), name.encode()) in shown for module, name in REAL)


def minimal(program, data, kind):
    """The pickle without each opcode that the fault does not need."""
    parts, at = pickles.opcodes(data), 0
    while at < len(parts):
        less = b"".join(parts[:at] + parts[at + 1 :])
        if less and fault(less, *read_all(program, [less])[0]) == kind:
            del parts[at]
        else:
            at += 1
    return b"".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--count", type=int, default=8_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=3, help="of each kind of fault")
    options = parser.parse_args()
    sys.setrecursionlimit(5000)
    rng = random.Random(options.seed)
    kinds, examples = collections.Counter(), collections.defaultdict(set)
    read = 0
    for start in range(0, options.count, 5000):
        made = [pickles.some(rng) for _ in range(min(5000, options.count - start))]
        for data, (shown, written) in zip(made, read_all(options.program, made)):
            read += bool(shown)
            kind = fault(data, shown, written)
            if kind is None:
                continue
            kinds[kind] += 1
            if len(examples[kind]) < options.examples:
                examples[kind].add(minimal(options.program, data, kind))
    print(f"{options.count} pickles, {read} read")
    for kind, count in kinds.items():
        print(f"{count} {kind}")
        for data in examples[kind]:
            shown = read_all(options.program, [data])[0][0]
            print("  ", data, "\n     anemone:", shown, "\n     Python, C:", *by_python(data)[:2])
    # Most of what is made must be readable, or nothing was compared.
    return 1 if kinds or read < options.count // 5 else 0


if __name__ == "__main__":
    sys.exit(main())
