"""Tensor: a named array of a checkpoint, read when asked for."""

from . import _c

_TORCH = ("torch", "pt")
_dtypes = {}  # by torch's name: the library's table, read at first use


def dtype_info(name):
    """What the library says of a dtype by torch's name: a dict with bits, numpy and safetensors."""
    if not _dtypes:
        _dtypes.update((info["name"], info) for info in _c.json("dtypes"))
    return _dtypes[name]


def numpy_dtype(name, raw=False):
    """The numpy.dtype of a dtype by torch's name. The ones numpy lacks (bfloat16, float8) are ml_dtypes' where that is
    installed, else raw bits."""
    numpy, info = _c.import_numpy(), dtype_info(name)
    if info["numpy"][:1] in ("<", "|"):
        return numpy.dtype(info["numpy"])
    if not raw:
        try:
            import ml_dtypes
            return numpy.dtype(getattr(ml_dtypes, name))
        except (ImportError, AttributeError):
            pass
    return numpy.dtype(f"<u{max(1, info['bits'] // 8)}")


def is_torch(framework):
    """Whether a framework's name is torch's; ValueError for one that is none."""
    if framework not in ("numpy", "np", *_TORCH):
        raise ValueError(f"framework: expected numpy or torch, found {framework!r}")
    return framework in _TORCH


def _cuts(shape, index):
    """An index of integers and slices as ([(start, length) of each axis], what is left to index the part with); None for
    another index."""
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in [part for part in index if part is Ellipsis]:
        if sum(part is Ellipsis for part in index) > 1:
            return None
        at = next(i for i, part in enumerate(index) if part is Ellipsis)
        index = index[:at] + (slice(None),) * (len(shape) - len(index) + 1) + index[at + 1:]
    if len(index) > len(shape) or not all(isinstance(part, (int, slice)) and not isinstance(part, bool) for part in index):
        return None
    ranges, rest = [], []
    for axis, size in enumerate(shape):
        part = index[axis] if axis < len(index) else slice(None)
        if isinstance(part, int):
            at = part + size if part < 0 else part
            if not 0 <= at < size:
                raise IndexError(f"index {part} of {size} in axis {axis}")
            ranges.append((at, 1))
            rest.append(0)
        else:
            chosen = range(*part.indices(size))
            first, last = (chosen[0], chosen[-1]) if len(chosen) else (0, -1)
            ranges.append((min(first, last), abs(last - first) + 1) if len(chosen) else (0, 0))
            rest.append(slice(None, None, chosen.step))
    return ranges, tuple(rest)


class Tensor:
    """A tensor that still lies in its file.

    Nothing is read until `numpy()`, `torch()`, `__array__` or DLPack asks; each read goes straight into the memory of the
    result, without the GIL.

    Attributes
    ----------
    name : str
        The tensor's name in its checkpoint.
    """

    __slots__ = ("name", "_shape", "_dtype", "_owner", "_ranges", "_made")

    def __init__(self, owner, name, dtype, shape, ranges=None):
        self.name = name
        self._owner = owner  # the mapping that has it by name
        self._dtype = dtype
        self._shape = shape
        self._ranges = ranges  # of each axis of the stored tensor, where this is a part of it
        self._made = None

    @property
    def _handle(self):
        if self._made is None:
            handle, stored = self._owner._tensor_handle(self.name)
            for axis, (size, (start, length)) in enumerate(zip(stored, self._ranges or ())):
                if (start, length) != (0, size):
                    handle = _c.make("tensor", "tensor_narrow", handle, axis, start, length)
            self._made = handle
        return self._made

    @property
    def shape(self):
        """tuple of int: sizes, outermost first."""
        return self._shape

    @property
    def dtype(self):
        """str: torch's name of the element type, "float32", "bfloat16" …"""
        return self._dtype

    @property
    def nbytes(self):
        """int: size in bytes."""
        return self.size * dtype_info(self._dtype)["bits"] // 8

    @property
    def ndim(self):
        """int: number of axes."""
        return len(self._shape)

    @property
    def size(self):
        """int: number of elements."""
        count = 1
        for n in self._shape:
            count *= n
        return count

    def _read(self, address):
        if self.nbytes:
            _c.call("tensor_read", self._handle, address, self.nbytes)

    def _view(self):
        return _c.memory(_c.make("view", "tensor_view", self._handle))

    def numpy(self, raw=False, copy=True):
        """Reads it into a new array.

        Parameters
        ----------
        raw : bool
            Gives the bits of bfloat16 and float8 as uint16 and uint8, which is also what happens without ml_dtypes.
        copy : bool
            With False the file's own bytes are mapped instead, to be read when they are looked at. Writing to them changes
            no file.

        Returns
        -------
        numpy.ndarray

        Raises
        ------
        UnsupportedError
            If `copy` is False and the bytes are not stored in one piece.
        """
        numpy, dtype = _c.import_numpy(), numpy_dtype(self.dtype, raw)
        if not copy:
            return numpy.frombuffer(self._view(), dtype).reshape(self.shape)
        array = numpy.empty(self.shape, dtype)
        self._read(array.__array_interface__["data"][0])
        return array

    def torch(self, copy=True, device="cpu"):
        """Reads it into a new torch.Tensor.

        Parameters
        ----------
        copy : bool
            As for numpy().
        device : str or torch.device
            Where the result is to be.

        Returns
        -------
        torch.Tensor
        """
        import torch
        dtype = getattr(torch, self.dtype, None)
        if dtype is None:
            raise TypeError(f"{self.name}: torch {torch.__version__} has no {self.dtype}")
        if copy:
            data = torch.empty(self.nbytes, dtype=torch.uint8)
            self._read(data.data_ptr())
            data = data.view(dtype).reshape(self.shape)
        else:
            data = torch.frombuffer(self._view(), dtype=dtype).reshape(self.shape)
        return data if str(device) == "cpu" else data.to(device)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy(copy=copy is not False)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __dlpack__(self, stream=None, copy=None, **_):
        return _c.dlpack(self._handle, copy is not False)

    def __dlpack_device__(self):
        return 1, 0  # kDLCPU

    def _part(self, ranges):
        stored = self._ranges or [(0, size) for size in self._shape]
        return Tensor(self._owner, self.name, self._dtype, tuple(length for _, length in ranges),
                      [(start + offset, length) for (start, _), (offset, length) in zip(stored, ranges)])

    def _indexed(self, index, read):
        cuts = _cuts(self._shape, index)
        if cuts is None:
            return read(self)[index]
        ranges, rest = cuts
        return read(self._part(ranges))[rest]

    def __getitem__(self, index):
        """A part. Slices of any axes (`t[10:20]`, `t[:, :8]`) are tensors, still unread; an integer or a step reads what it
        needs into a numpy array; so does any other index, of all of it."""
        cuts = _cuts(self._shape, index)
        if cuts is not None and all(part == slice(None, None, 1) for part in cuts[1]):
            return self._part(cuts[0])
        return self._indexed(index, Tensor.numpy)

    def item(self):
        """The only element, as a Python number.

        Raises
        ------
        ValueError
            If there is another number of elements.
        """
        if self.size != 1:
            raise ValueError(f"{self.name}: expected one element, found {self.size}")
        return self.numpy().item()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __reduce__(self):
        return Tensor, (self._owner, self.name, self._dtype, self._shape, self._ranges)

    def __repr__(self):
        return f"anemone.Tensor({self.name!r}, shape={self.shape}, dtype={self.dtype})"


class Slice:
    """A tensor, unread, whose parts are arrays of one framework: what safetensors' get_slice answers."""

    def __init__(self, tensor, framework, device="cpu"):
        self._tensor = tensor
        self._is_torch = is_torch(framework)
        self._device = device

    def get_shape(self):
        """list of int: the tensor's sizes."""
        return list(self._tensor.shape)

    def get_dtype(self):
        """str: the element type as safetensors calls it, "F32", "BF16" …"""
        return dtype_info(self._tensor.dtype)["safetensors"] or self._tensor.dtype

    def _read(self, tensor):
        return tensor.torch(device=self._device) if self._is_torch else tensor.numpy()

    def __getitem__(self, index):
        """The part as an array; integers and slices of any axis read only what they need."""
        return self._tensor._indexed(index, self._read)

    def __repr__(self):
        return f"anemone.Slice of {self._tensor!r}"
