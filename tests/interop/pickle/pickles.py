"""Pickles: as pickle.py and _pickle write values, as random programs of opcodes, and either of them with bytes or opcodes changed."""

import collections
import copyreg
import io
import pickle
import pickletools
import struct
import _codecs


class Plain:
    """A class whose state is a dictionary; others below have slots, a state of two parts, or arguments."""


class Slotted:
    __slots__ = ("a", "b", "__dict__")


class Made:
    def __init__(self, args):
        self.args = args

    def __reduce__(self):
        return Made, (self.args,)


class Stateful(Made):
    def __reduce__(self):
        return Stateful, (0,), self.args

    def __setstate__(self, state):
        self.args = state


class WithKeywords(Made):
    def __reduce_ex__(self, protocol):
        return copyreg.__newobj_ex__, (WithKeywords, (1,), {"args": self.args})

    def __new__(cls, number=0, args=None):
        return super().__new__(cls)

    def __init__(self, args=None):
        super().__init__(args)


class Listed(list):
    pass


class Outer:
    class Inner(Plain):
        pass


class Persistent:
    """Written as a persistent id."""

    def __init__(self, pid):
        self.pid = pid


TEXTS = ["", "a", "key", "\\", "\\u0041", "é", "\u20ac", "\U0001f600", "\ud800", "a\nb\r\x1a\0", "x" * 300, "'", '"']


def atom(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice([None, True, False, (), b"", "", 0, -1, 1, 2**31, -(2**31), 2**63, -(2**63), 2**64, 10**30, -(10**30)])
    if kind == 1:
        return rng.randrange(-300, 70000)
    if kind == 2:
        return rng.choice([0.0, -0.0, 1.0, 1.5, -2.25, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), 2.0**63, 1e22, 0.1, 3.0])
    if kind == 3:
        return bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 3, 300])))
    if kind == 4:
        return bytearray(rng.randrange(256) for _ in range(rng.choice([0, 1, 3])))
    return rng.choice(TEXTS)


def hashable(rng, depth=0):
    if depth < 2 and rng.random() < 0.15:
        items = [hashable(rng, depth + 1) for _ in range(rng.randrange(3))]
        return tuple(items) if rng.random() < 0.7 else frozenset(items)
    value = atom(rng)
    return bytes(value) if isinstance(value, bytearray) else value


def value(rng, known, depth=0):
    """Any value, of atoms, containers, objects and what `known` has already: shared, or holding itself."""
    if known and rng.random() < 0.15:
        return rng.choice(known)
    if depth > 4 or rng.random() < 0.4:
        return atom(rng)
    items = lambda most=5: [value(rng, known, depth + 1) for _ in range(rng.randrange(most))]
    kind = rng.randrange(13)
    if kind == 0:
        return tuple(items())
    if kind == 1:
        return rng.choice([set, frozenset])(hashable(rng) for _ in range(rng.randrange(4)))
    made = [[], {}, collections.OrderedDict(), Plain(), Slotted(), Made(None), Stateful(None), WithKeywords(), Listed(), Persistent(None), Outer.Inner()][kind - 2]
    known.append(made)
    if isinstance(made, list):
        made.extend(items(8))
    if isinstance(made, dict):
        for _ in range(rng.randrange(5)):
            made[hashable(rng)] = value(rng, known, depth + 1)
    if isinstance(made, (Plain, Listed, collections.OrderedDict)) and rng.random() < 0.5:
        made.__dict__["attribute"] = value(rng, known, depth + 1)
    if isinstance(made, Slotted):
        made.a = value(rng, known, depth + 1)
        if rng.random() < 0.5:
            made.c = 1
    if isinstance(made, Made):
        made.args = value(rng, known, depth + 1)
    if isinstance(made, Persistent):
        made.pid = ("storage", *items(3)) if rng.random() < 0.8 else atom(rng)
    return made


def as_python_writes(rng):
    """One value by either pickler in any protocol."""
    known = []
    what = [value(rng, known) for _ in range(rng.randrange(1, 4))]
    out, protocol = io.BytesIO(), rng.randrange(6)
    base = rng.choice([pickle.Pickler, pickle._Pickler])

    class Pickler(base):
        def persistent_id(self, obj):
            return obj.pid if isinstance(obj, Persistent) else None

    pickler = Pickler(out, protocol)
    try:
        pickler.dump(what)
    except (pickle.PicklingError, RecursionError, AttributeError, TypeError, UnicodeEncodeError):
        return b"N."
    return out.getvalue()


GLOBALS = [
    ("collections", "OrderedDict"), ("collections", "OrderedDict"), ("collections", "Counter"), ("collections", "defaultdict"), ("__builtin__", "set"), ("builtins", "set"), ("builtins", "frozenset"), ("__builtin__", "bytearray"), ("_codecs", "encode"),
    ("__builtin__", "bytes"), ("__builtin__", "long"), ("__builtin__", "unicode"), ("copy_reg", "_reconstructor"), ("collections", "Counter"), ("torch", "Size"),
    ("torch", "float32"), ("exceptions", "StandardError"), ("UserDict", "UserDict"), ("a.b", "C.d"), ("torch.nn.parameter", "Parameter"), ("torch", "device"),
    ("builtins", "complex"), ("itertools", "izip"), ("_elementtree", "Element"), ("urllib", "quote"), ("os", "system"),
]  # fmt: skip
RENAMED = [*pickle._compat_pickle.NAME_MAPPING, *((module, "name") for module in pickle._compat_pickle.IMPORT_MAPPING)]
INTEGERS = [b"0", b"1", b"-5", b"00", b"01", b"010", b"+1", b"-0", b"000", b"0x10", b"1_0", b" 1", b"1 ", b"2147483648", b"-9223372036854775808", b"9223372036854775808", b"1" * 40, b"", b"-", b"1.0"]  # fmt: skip
LONGS = [b"0L", b"1L", b"-5L", b"5", b"010L", b"00L", b"+1L", b"0x1fL", b"1_0L", b" 1L", b"1LL", b"L", b"123456789012345678901234567890L"]
FLOATS = [b"0.0", b"-0.0", b"1.5", b"1", b"1e5", b"1E+5", b"inf", b"-inf", b"nan", b"-nan", b"nan(1)", b"infinity", b"Infinity", b"1e999", b"1e-999", b"5e-324", b"+1.5", b"+-1.5", b"--1", b".5", b"5.", b".", b"1_0.0", b" 1.5", b"0x1p3", b"1.5\0x", b"1e", b"2.2250738585072011e-308", b"0.1"]  # fmt: skip
STRINGS = [b"'a'", b'"a"', b"'\\x41'", b"'\\101'", b"'\\777'", b"'\\8'", b"'\\q'", b"'\\x4'", b"'\\'", b"'a\"", b"'", b"", b"a", b"'a'b'", b"'\\\\'", b"'\xc3\xa9'", b"'\\xff'", b"''", b" 'a'", b"'a' ", b"'\\n\\'\\\"'"]  # fmt: skip
UNICODES = [b"", b"a", b"\\u0041", b"\\\\u0041", b"\\\\\\u0041", b"\\U00000041", b"\\U00110000", b"\\ud83d\\ude00", b"\\u00", b"\\u", b"\\", b"a\\", b"\\n", b"\xe9", b"\\x41", b"\\N{DIGIT ONE}", b"\\u00e9\\u", b"\\\\", b"\\u0_41", b"\\u +41", b"\\\\\\\\u0041"]  # fmt: skip
PIDS = [b"0", b"storage"]


def counted(form, content):
    return struct.pack(form, len(content)) + content


# Of torch's weights-only unpickler, and what it allows.
TORCH_OPCODES = b"cRbaesu(t\x85\x86\x87N\x88\x89)]}\x8fJKMGXUQhjqr\x8a\x80\x81."
TORCH_GLOBALS = [("collections", "OrderedDict"), ("collections", "Counter"), ("__builtin__", "set"), ("__builtin__", "bytearray"), ("_codecs", "encode"), ("torch", "Size")]


class Program:
    """Opcodes after one another, each mostly where the stack lets it be."""

    def __init__(self, rng, is_torch):
        self.rng, self.is_torch, self.code, self.stack, self.memo = rng, is_torch, [], [], {}

    def pick(self, choices):
        """One of several codes, or of pairs that begin with one."""
        if self.is_torch:
            choices = [choice for choice in choices if (choice if isinstance(choice, bytes) else choice[0])[:1] in TORCH_OPCODES] or [b""]
        return self.rng.choice(choices)

    def put(self, *parts):
        self.code.append(b"".join(parts))

    def above_mark(self):
        tags = []
        for tag in reversed(self.stack):
            if tag == "mark":
                return tags
            tags.append(tag)
        return tags

    def pop_mark(self):
        while self.stack and self.stack.pop() != "mark":
            pass

    def atom(self):
        rng = self.rng
        text = rng.choice(TEXTS).encode("utf-8", "surrogatepass") if rng.random() < 0.97 else bytes(rng.randrange(256) for _ in range(3))
        short = text[:200] if len(text) < 200 else b"long"
        raw = bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 2, 8, 9])))
        choices = [
            b"N", b"\x88", b"\x89", b")", b"K" + bytes([rng.randrange(4)]), b"M" + raw.ljust(2)[:2], b"J" + raw.ljust(4)[:4],
            b"I" + rng.choice(INTEGERS) + b"\n", b"L" + rng.choice(LONGS) + b"\n", b"F" + rng.choice(FLOATS) + b"\n",
            b"G" + struct.pack(">d", rng.choice([0.0, 1.0, 1.5, 2.0**63, float("nan"), 1e22])), b"\x8a" + counted("<B", raw), b"\x8b" + counted("<i", raw),
            b"S" + rng.choice(STRINGS) + b"\n", b"V" + rng.choice(UNICODES) + b"\n", b"X" + counted("<I", text), b"\x8c" + counted("<B", short), b"\x8d" + counted("<Q", text),
            b"U" + counted("<B", short), b"T" + counted("<i", text), b"C" + counted("<B", raw), b"B" + counted("<I", raw), b"\x8e" + counted("<Q", raw), b"\x96" + counted("<Q", raw),
        ]  # fmt: skip
        code = self.pick(choices)
        tag = "text" if code[:1] in b"SVXUT\x8c\x8d" else "bytes" if code[:1] in b"CB\x8e\x96" else "tuple" if code == b")" else "number"
        self.stack.append(tag)
        self.put(code)

    def fill(self, opcodes, pairs):
        """A mark, values, and the opcode that takes them."""
        self.put(b"(")
        self.stack.append("mark")
        for _ in range(self.rng.randrange(4)):
            for _ in range(2 if pairs else 1):
                self.atom() if self.rng.random() < 0.7 else self.step()
        self.pop_mark()
        self.put(opcodes)

    def step(self):
        rng, stack = self.rng, self.stack
        above = self.above_mark()
        top = above[0] if above else None
        kind = rng.randrange(26)
        if kind < 5:
            self.atom()
        elif kind < 8:
            code, tag = self.pick([(b"]", "list"), (b"}", "dict"), (b"\x8f", "set")])
            stack.append(tag)
            self.put(code)
        elif kind == 8 and above:
            count = rng.randrange(1, min(3, len(above)) + 1)
            del stack[-count:]
            stack.append("tuple")
            self.put(bytes([0x84 + count]))
        elif kind == 9:
            code, tag = self.pick([(b"t", "tuple"), (b"l", "list"), (b"d", "dict"), (b"\x91", "frozenset")])
            self.fill(code, tag == "dict")
            stack.append(tag)
        elif kind == 10 and top in ("list", "object"):
            if rng.random() < 0.5:
                self.atom()
                stack.pop()
                self.put(b"a")
            else:
                self.fill(b"e", False)
        elif kind in (11, 12) and top in ("dict", "object"):
            if rng.random() < 0.5:
                self.atom(), self.atom()
                del stack[-2:]
                self.put(b"s")
            else:
                self.fill(b"u", True)
        elif kind == 13 and top == "set":
            self.fill(b"\x90", False)
        elif kind in (14, 15) and above:
            index = rng.choice([0, 1, 2, 3, 5, 8, 300, len(self.memo)])
            code = self.pick([b"\x94", b"\x94", b"q", b"r", b"p"])
            if code == b"\x94":
                index = len(self.memo)
            elif code == b"q":
                index %= 256
            self.put(code, {b"\x94": b"", b"q": bytes([index % 256]), b"r": struct.pack("<I", index), b"p": b"%d\n" % index}[code])
            self.memo[index] = top
        elif kind in (16, 17) and self.memo:
            index = rng.choice(list(self.memo)) if rng.random() < 0.95 else rng.randrange(5)
            self.put(self.pick([b"h" + bytes([index]) if index < 256 else b"N", b"j" + struct.pack("<I", index), b"g%d\n" % index]))
            stack.append(self.memo.get(index))
        elif kind in (18, 19):
            self.call()
        elif kind == 20 and top == "object":
            is_pair = rng.random() < 0.5
            self.put(b"N" if is_pair else b"", b"}")
            self.fill(b"u", True)
            self.put(b"\x86" if is_pair else b"", b"b")
        elif kind == 21 and above:
            self.put(self.pick([b"0", b"2"]))
            stack.pop() if self.code[-1] == b"0" else stack.append(top) if self.code[-1] else None
        elif kind == 22 and not self.is_torch:
            self.put(rng.choice([b"(0", b"(1", b"(N1", b"((NK\x010011"[: rng.choice([2, 3])], b"\x80" + bytes([rng.randrange(7)])]))
        elif kind == 23 and above:
            self.put(b"Q")
            stack[-1] = "persistent"
        elif kind == 24 and not self.is_torch:
            self.put(rng.choice([b"P" + rng.choice(PIDS) + b"\n", b"\x82\x01", b"\x95" + struct.pack("<Q", rng.choice([0, 1, 2, 5, 9])), b"\x97", b"(icollections\nOrderedDict\n", b"(ccollections\nOrderedDict\no"]))
        elif rng.random() < 0.1:
            self.put(bytes([rng.randrange(256)]))

    def call(self):
        rng, later, args = self.rng, b"", b")"
        module, name = (part.encode() for part in rng.choice(TORCH_GLOBALS if self.is_torch else GLOBALS if rng.random() < 0.95 else RENAMED))
        self.put(self.pick([b"c%s\n%s\n" % (module, name)] * 3 + [b"\x8c" + counted("<B", module) + b"\x8c" + counted("<B", name) + b"\x93"]))
        if rng.random() < 0.15:
            self.stack.append("global")
            return
        made = rng.randrange(8)
        if made == 2:
            args = b"N\x85"
        elif made == 3:
            self.fill(b"t", False)
            args = b""
        elif made == 4:
            code, tag, more = rng.choice([(b"]", "list", b"(K\1X\1\0\0\0a\x86e"), (b"}", "dict", b"K\1K\1s"), (b"](]q\0(K\1K\2eK\3K\4\x86e", "list", b"h\0a"), (b"](K\1K\2\x86K\1K\4\x86e", "list", b"Na")])
            self.put(code)
            if tag == "list" and rng.random() < 0.5:
                self.fill(b"e", False)
            index = rng.randrange(1, 9)
            self.memo[index] = tag
            args = b"q" + bytes([index]) + b"\x85"
            if rng.random() < 0.5:  # more comes into it once the call was made
                later = b"h" + bytes([index]) + more + b"h" + bytes([index])
        elif made == 5:
            args = b"X\2\0\0\0\xc3\xa9X\6\0\0\0latin1\x86"
        elif made > 5 and self.memo:
            args = b"j" + struct.pack("<I", rng.choice(list(self.memo))) + rng.choice([b"", b"\x85"])
        self.put(args)
        if rng.random() < 0.2:
            index = rng.randrange(9)
            self.put(b"q", bytes([index]))
            self.memo[index] = "tuple"
        self.put(self.pick([b"R", b"R", b"R", b"R", b"\x81", b"}\x92", b"}X\1\0\0\0kK\1s\x92"]), later)
        self.stack.extend(["object", "list"] if later else ["object"])


def as_a_program(rng):
    program = Program(rng, is_torch=rng.random() < 0.4)
    program.put(b"\x80\x02" if program.is_torch else rng.choice([b"", b"\x80\x02", b"\x80\x02", b"\x80\x04", b"\x80\x05"]), b"(")
    program.stack.append("mark")
    for _ in range(rng.randrange(2, 25)):
        program.step()
    for _ in range(program.stack.count("mark") - 1):
        program.put(b"t")
    code = b"".join(program.code) + b"t."
    if rng.random() < 0.1 and not program.is_torch:  # within a frame that ends anywhere
        code = b"\x80\x04\x95" + struct.pack("<Q", rng.randrange(len(code) + 1)) + code
    return code


def opcodes(pickled):
    """The pickle cut at its opcodes, as far as it can be."""
    starts = []
    try:
        for _, _, at in pickletools.genops(pickled):
            starts.append(at)
    except Exception:
        pass
    return [pickled[a:b] for a, b in zip(starts, starts[1:] + [len(pickled)])] or [pickled]


def changed(rng, pickled):
    for _ in range(rng.randrange(1, 4)):
        how = rng.randrange(7)
        if how == 0 and pickled:
            at = rng.randrange(len(pickled))
            pickled = pickled[:at] + bytes([rng.randrange(256)]) + pickled[at + 1 :]
        elif how == 1 and pickled:
            at = rng.randrange(len(pickled))
            pickled = pickled[:at] + bytes([pickled[at] ^ 1 << rng.randrange(8)]) + pickled[at + 1 :]
        elif how == 2:
            pickled = pickled[: rng.randrange(len(pickled) + 1)]
        else:
            parts = opcodes(pickled)
            at = rng.randrange(len(parts))
            if how == 3:
                del parts[at]
            elif how == 4:
                parts.insert(at, rng.choice(parts))
            elif how == 5:
                other = rng.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            else:
                parts.insert(at, rng.choice([b"\x94", b"q\0", b"q\1", b"h\0", b"h\1", b"0", b"1", b"2", b"(", b"\x85", b"N", b"]", b"}", b")", b"a", b"e", b"s", b"u", b"R", b"b", b"\x81", b"\x80\x02", b"\x80\x04", b"\x95\3\0\0\0\0\0\0\0"]))
            pickled = b"".join(parts)
    return pickled


def some(rng):
    made = as_python_writes(rng) if rng.random() < 0.3 else as_a_program(rng)
    return changed(rng, made) if rng.random() < 0.4 else made
