"""The training state of a checkpoint as plain Python values; what is no plain value is an Opaque, never made."""

from . import _c
from ._tensor import Tensor

_EXACT = {"int": int, "bytes": bytes.fromhex, "bytearray": bytearray.fromhex}  # what JSON has no values for
_FIXED = {"tuple": tuple, "set": set, "frozenset": frozenset}  # need what they hold when they are made
_DEEPEST = 32  # of the keys that name a tensor


class Opaque:
    """An object of a checkpoint that is no plain data, as its pickle describes it. It was neither imported nor made.

    Attributes
    ----------
    name : str
        "module name" of what would be called, such as "argparse Namespace".
    arguments : list
        What it would be called with.
    state : object
        What its `__setstate__` or `__dict__` would get; None where there is none.
    appended : list
        What would be appended to it, for a kind of list.
    entries : dict
        What would be set in it, for a kind of dict.
    """

    __slots__ = ("name", "arguments", "state", "appended", "entries")

    def __init__(self, name, arguments=(), state=None, appended=(), entries=()):
        self.name = name
        self.arguments, self.state, self.appended, self.entries = list(arguments), state, list(appended), dict(entries)

    def __repr__(self):
        return f"anemone.Opaque({self.name!r})"


class _Tensors:
    """The tensors of a training state, by the names that they are given here."""

    def __init__(self, part):
        self._part = part
        self._entries = {}  # name → (number, shape)

    def _tensor_handle(self, name):
        number, shape = self._entries[name]
        return _c.make("tensor", "training_tensor", self._part._stored, number), shape

    def __reduce__(self):
        return _tensors_of, (self._part,)


def _tensors_of(part):
    part.training  # noqa: B018 - fills them
    return part._training_tensors


class _Builder:
    """Makes the values of the table that anemone_training gives. Lists, dicts and objects may contain themselves: they are
    made empty, and filled when all others are there."""

    def __init__(self, table, tensors):
        self._table, self._tensors = table, tensors
        self._parents = {}  # value → (the list, tuple or dict that was found to hold it, its key there)
        self._values = {}

    def build(self):
        """The first value of the table."""
        for number, node in enumerate(self._table):
            self._note_parent(number, node)
        for number, node in enumerate(self._table):
            self._make(number, node)
        for number in range(len(self._table)):
            if number not in self._values:
                self._make_fixed(number)
        for number, node in enumerate(self._table):
            self._fill(number, node)
        return self._values[0]

    def _note_parent(self, number, node):
        if not isinstance(node, dict):
            return
        if "dict" in node:
            held = zip((self._table[key] for key in node["dict"][::2]), node["dict"][1::2])
        else:
            held = enumerate(node.get("list") or node.get("tuple") or ())
        for key, child in held:
            if child > number and not isinstance(key, dict):
                self._parents.setdefault(child, (number, key))

    def _name(self, number):
        """optimizer_states[0].state[3].exp_avg"""
        keys, at = [], number
        while at in self._parents and len(keys) < _DEEPEST:
            at, key = self._parents[at]
            keys.append(f".{key}" if isinstance(key, str) else f"[{key}]")
        name = "".join(reversed(keys)).lstrip(".")
        return f"tensor {self._table[number]['tensor']}" if at or name in self._tensors._entries else name

    def _make(self, number, node):
        kind = next(iter(node)) if isinstance(node, dict) else ""
        if kind in _FIXED:
            return
        value = node
        if kind == "tensor":
            name, shape = self._name(number), tuple(node["shape"])
            self._tensors._entries[name] = node["tensor"], shape
            value = Tensor(self._tensors, name, node["dtype"], shape)
        elif kind in _EXACT:
            value = _EXACT[kind](node[kind])
        elif kind in ("list", "dict"):
            value = [] if kind == "list" else {}
        elif kind:
            value = Opaque("persistent id" if kind == "persistent" else node[kind])
        self._values[number] = value

    def _make_fixed(self, first):
        """Tuples and sets, inner ones first."""
        begun = {}  # value → what is left of its items, in the order in which they were begun

        def begin(number):
            if number in begun:
                raise _c._errors.CorruptError("a tuple of the training state contains itself")
            begun[number] = iter(next(iter(self._table[number].values())))

        begin(first)
        while begun:
            number = next(reversed(begun))
            missing = next((item for item in begun[number] if item not in self._values), None)
            if missing is not None:
                begin(missing)
                continue
            (kind, items), = self._table[number].items()
            self._values[number] = _FIXED[kind](self._values[item] for item in items)
            del begun[number]

    def _fill(self, number, node):
        if not isinstance(node, dict):
            return
        value, kind = self._values[number], next(iter(node))
        if kind == "list":
            value.extend(self._values[item] for item in node[kind])
        elif kind == "dict":
            value.update(self._pairs(node[kind]))
        elif kind == "persistent":
            value.arguments.extend(self._values[item] for item in node[kind])
        elif kind == "object":
            value.arguments.extend(self._values[item] for item in node["arguments"])
            value.appended.extend(self._values[item] for item in node["appended"])
            value.entries.update(self._pairs(node["entries"]))
            if "state" in node:
                value.state = self._values[node["state"]]

    def _pairs(self, numbers):
        return zip((self._values[key] for key in numbers[::2]), (self._values[value] for value in numbers[1::2]))


class HasTraining:
    """Of what has a handle `_stored` to a checkpoint."""

    _training = None  # ([the value], its tensors) once asked for

    @property
    def training(self):
        """dict or None: the dictionary that the training saved: optimizer, schedulers, loops. Its tensors are unread
        `anemone.Tensor`s, its objects `anemone.Opaque`s. None where there is none. Of several ranks each has its own:
        `checkpoint.shards[0].training`."""
        if self._training is None:
            table, tensors = _c.json("training", self._stored), _Tensors(self)
            try:
                self._training = (_Builder(table, tensors).build() if table else None), tensors
            except TypeError as error:  # a list as a key
                raise _c._errors.CorruptError(f"training state: {error}") from error
        return self._training[0]

    @property
    def _training_tensors(self):
        return self._training[1]
