"""Checkpoint: a mapping of names to tensors over any file or folder that anemone reads."""

from collections.abc import KeysView, Mapping

from . import _c
from ._tensor import Slice, Tensor, is_torch
from ._training import HasTraining

_SHOWN = 12  # rows of a table


class _NoSuchTensor(KeyError):
    """A KeyError that proposes the nearest name when it is shown."""

    def __init__(self, name, names=()):
        super().__init__(name)
        self._names = names

    def __str__(self):
        from difflib import get_close_matches
        near = get_close_matches(self.args[0], self._names, 1) if isinstance(self.args[0], str) else []
        return repr(self.args[0]) + (f": did you mean {near[0]!r}?" if near else "")

    def __reduce__(self):
        return type(self), (self.args[0], list(self._names))


class _Names(KeysView):
    """The names of a checkpoint's tensors: a set in stored order."""

    def __repr__(self):
        return f"{type(self._mapping).__name__}.keys({list(self)})"


class _Views(Mapping):
    """A checkpoint's tensors as one framework's arrays, each read when it is asked for."""

    def __init__(self, checkpoint, framework, copy):
        self._checkpoint = checkpoint
        self._framework = framework
        self._copy = copy

    def __getitem__(self, name):
        return self._checkpoint.get_tensor(name, self._framework, self._copy)

    def __iter__(self):
        return iter(self._checkpoint)

    def __len__(self):
        return len(self._checkpoint)


class Artifacts(Mapping):
    """The files that travel with a model, by name; reading one gives its bytes."""

    def __init__(self, checkpoint):
        self._checkpoint = checkpoint

    def _names(self):
        return [artifact["name"] for artifact in self._checkpoint._info["artifacts"]]

    def __getitem__(self, name):
        if name not in self._names():
            raise KeyError(name)
        return _c.bytes_of("artifact_read", self._checkpoint._handle, _c.text_bytes(name))

    def __iter__(self):
        return iter(self._names())

    def __len__(self):
        return len(self._names())

    def __repr__(self):
        return f"Artifacts({list(self)})"


class _Tensors(Mapping):
    """The tensors of a handle by name."""

    _entries = None  # name → (place, dtype, shape)
    _opaque_names = None

    def _listed(self):
        if self._entries is None:
            found = _c.json("tensor_list", self._handle)
            self._opaque_names = found["opaque"]
            self._entries = {name: (place, dtype, tuple(shape)) for place, (name, dtype, shape) in enumerate(found["tensors"])}
        return self._entries

    def _tensor_handle(self, name):
        """The stored tensor's handle and its shape."""
        place, _, shape = self._listed()[name]
        return _c.make("tensor", "tensor_at", self._handle, place), shape

    def __getitem__(self, name):
        try:
            _, dtype, shape = self._listed()[name]
        except KeyError:
            raise _NoSuchTensor(name, self._listed()) from None
        return Tensor(self, name, dtype, shape)

    def keys(self):
        """The tensors' names, in stored order."""
        return _Names(self)

    def table(self):
        """All tensors, as `pandas.DataFrame` takes them.

        Returns
        -------
        list of dict
            name, dtype, shape and bytes of each.
        """
        return [{"name": name, "dtype": tensor.dtype, "shape": tensor.shape, "bytes": tensor.nbytes} for name, tensor in self.items()]

    @property
    def num_parameters(self):
        """int: elements of all tensors together."""
        return sum(tensor.size for tensor in self.values())

    def __iter__(self):
        return iter(self._listed())

    def __len__(self):
        return len(self._listed())

    def __contains__(self, name):
        return name in self._listed()

    def _rows(self, all_rows=False):
        rows = [(name, dtype, " × ".join(map(str, shape)) or "scalar") for name, (_, dtype, shape) in self._listed().items()]
        shown = len(rows) if all_rows else _SHOWN
        return rows[:shown], len(rows) - shown

    def _table(self, all_rows=False):
        rows, more = self._rows(all_rows)
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        return lines + ([f"… and {more} more"] if more > 0 else [])

    def _repr_html_(self):
        from html import escape
        rows, more = self._rows()
        cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        if more > 0:
            cells.append(f'<td colspan="3">… and {more} more</td>')
        return (f"<p>{escape(self._line())}</p><table><thead><tr><th>name</th><th>dtype</th><th>shape</th></tr></thead><tbody>"
                + "".join(f"<tr>{row}</tr>" for row in cells) + "</tbody></table>")


class Shard(HasTraining, _Tensors):
    """What one tensor- and pipeline-parallel rank stored, as it stored it; or what it is given of another layout.

    Attributes
    ----------
    tp_rank, pp_rank : int
        The rank.
    """

    def __init__(self, checkpoint, index, split=None):
        import ctypes
        tp, pp = ctypes.c_int(), ctypes.c_int()
        self._checkpoint, self._index, self._is_stored = checkpoint, index, split is None
        self._handle = _c.make("checkpoint", "part", split or checkpoint._stored, index, ctypes.byref(tp), ctypes.byref(pp))
        self._stored = self._handle
        self.tp_rank, self.pp_rank = tp.value, pp.value

    def __reduce__(self):
        if not self._is_stored:
            raise TypeError("a rank of another layout than the stored one cannot be pickled")
        return Shard, (self._checkpoint, self._index)

    def _line(self):
        return f"Shard(tp_rank={self.tp_rank}, pp_rank={self.pp_rank}, tensors={len(self)})"

    def __repr__(self):
        return self._line()


class Checkpoint(HasTraining, _Tensors):
    """Names to tensors, in stored order; reading a tensor is the only thing that costs.

    Ranks are merged, and the names are those of `dialect`. Besides the mapping it speaks safetensors' `safe_open`: keys,
    get_tensor, get_slice, metadata, `with`. It is made by anemone.open, and can be pickled: the copy opens the path again.
    """

    def __init__(self, handle, dialect=None, framework="numpy", device="cpu", reopen=None):
        is_torch(framework)
        self._stored = handle
        self._reopen = reopen  # what a pickle does: (function, arguments)
        # Without a wish for other names, ranks are merged only when someone looks at a tensor.
        self._handle = handle
        if dialect:
            self._handle = _c.run(lambda _: _c.make("checkpoint", "translate", handle, _c.text_bytes(dialect)))
        self._framework = framework
        self._device = device
        self._said = {}
        self._config = None

    def _info_of(self, handle):
        key = id(handle)
        if key not in self._said:
            self._said[key] = _c.json("info", handle)
        return self._said[key]

    @property
    def _info(self):
        return self._info_of(self._handle)

    @property
    def path(self):
        """str: the path as it was given to open()."""
        return self._info_of(self._stored)["path"]

    @property
    def format(self):
        """str: how it lies on disk, "nemo", "lightning", "hf", "safetensors" …"""
        return self._info_of(self._stored)["format"]

    @property
    def family(self):
        """str: the model's family ("clip", "siglip", "gpt", "t5"); empty when no table knows it."""
        return self._info["family"]

    @property
    def dialect(self):
        """str: whose names these are ("mcore", "legacy", "hf", "openclip" …); empty when no table knows."""
        return self._info["dialect"]

    @property
    def layout(self):
        """tuple of int: (tp, pp, vp) as it is stored."""
        layout = self._info_of(self._stored)["layout"]
        return layout["tp"], layout["pp"], layout["vp"]

    @property
    def shards(self):
        """list of Shard: what each rank stored, unmerged; a rank with virtual chunks gives one a chunk."""
        return [Shard(self, index) for index in range(_c.plain("part_count", self._stored))]

    @property
    def config(self):
        """dict or None: the model's config, interpolations unresolved; None where there is none."""
        if self._config is None:
            try:
                self._config = _c.json("config_get", self._handle, b"")
            except _c._errors.NotFoundError:
                return None
        return self._config

    @property
    def artifacts(self):
        """Mapping of str to bytes: files that travel with the model."""
        return Artifacts(self)

    @property
    def notes(self):
        """list of str: what the reader had to decide."""
        return list(self._info["notes"])

    @property
    def opaque(self):
        """list of str: names that are no tensors, Transformer Engine's `_extra_state`."""
        self._listed()
        return list(self._opaque_names)

    def rank(self, tp=None, pp=None, tp_rank=0, pp_rank=0):
        """What one rank holds of the model, whatever layout it is stored in: unread, and reading it reads no other's part.

        Parameters
        ----------
        tp, pp : int, optional
            Tensor- and pipeline-parallel sizes. Default: as it is stored.
        tp_rank, pp_rank : int
            Which rank.

        Returns
        -------
        Shard
        """
        layout = self._info["layout"]
        tp, pp = (layout["tp"] if tp is None else tp), (layout["pp"] if pp is None else pp)
        if not (0 <= tp_rank < tp and 0 <= pp_rank < pp):
            raise _c._errors.InvalidArgumentError(f"expected a rank of TP {tp} × PP {pp}, found tp_rank={tp_rank}, pp_rank={pp_rank}")
        split = _c.run(lambda _: _c.make("checkpoint", "split", self._handle, tp, pp))
        return Shard(self, pp_rank * tp + tp_rank, split)

    def state_dict(self, framework="torch", copy=True, device=None):
        """A lazy mapping of names to arrays, for `torch.nn.Module.load_state_dict`.

        Parameters
        ----------
        framework : {"torch", "numpy"}
        copy : bool
            As for Tensor.numpy().
        device : str or torch.device, optional
            Reads all tensors to this device at once, as anemone.torch.load_file does, and answers a dict.

        Returns
        -------
        Mapping
        """
        if not is_torch(framework) and device is not None:
            raise ValueError("device: expected framework='torch' with it")
        if device is None:
            return _Views(self, framework, copy)
        from . import _device
        return _device.load(self, device)

    def get_tensor(self, name, framework=None, copy=True):
        """The tensor, read.

        Parameters
        ----------
        name : str
        framework : {"torch", "numpy"}, optional
            Default: the one given to open().
        copy : bool
            As for Tensor.numpy().

        Returns
        -------
        numpy.ndarray or torch.Tensor
        """
        tensor = self[name]
        return tensor.torch(copy, self._device) if is_torch(framework or self._framework) else tensor.numpy(copy=copy)

    def get_slice(self, name):
        """The tensor, unread; `[2:4, :8]` reads that part, as the framework given to open().

        Returns
        -------
        Slice
        """
        return Slice(self[name], self._framework, self._device)

    def offset_keys(self):
        """Names in stored order, as safetensors calls it."""
        return list(self)

    def metadata(self):
        """safetensors' `__metadata__`, torch_dist's versions."""
        return dict(self._info_of(self._stored)["metadata"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __reduce__(self):
        if self._reopen is None:
            raise TypeError("a checkpoint that was not opened from a path cannot be pickled")
        return self._reopen

    def _line(self):
        tp, pp, vp = self.layout
        kind = " ".join(word for word in (self.family, self.dialect) if word) or "unknown family"
        return f"<anemone.Checkpoint {self.path!r}: {self.format}, {kind}, TP {tp} × PP {pp}{f' × VP {vp}' if vp > 1 else ''}>"

    def __repr__(self):
        """The line that says what it is; a table of its first tensors, unless ranks would have to be merged for it."""
        whole = self._entries is not None or _c.plain("part_count", self._handle) == 1
        return "\n".join([self._line(), *(self._table() if whole else [])])
