"""Tensor: a named array of a checkpoint, read when asked for."""

# torch's name of a dtype → numpy's. The ones numpy lacks are ml_dtypes' where that is installed, else raw bits.
_NUMPY = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "|i1",
          "uint64": "<u8", "uint32": "<u4", "uint16": "<u2", "uint8": "|u1", "bool": "|b1", "complex64": "<c8", "complex128": "<c16"}
_BITS = {"bfloat16": "<u2", "complex32": "<u4"}


def numpy_dtype(name, raw=False):
    """The numpy.dtype of a dtype by torch's name; bfloat16 and float8 by ml_dtypes, or as raw bits without it."""
    import numpy
    if name in _NUMPY:
        return numpy.dtype(_NUMPY[name])
    if not raw:
        try:
            import ml_dtypes
            return numpy.dtype(getattr(ml_dtypes, name))
        except (ImportError, AttributeError):
            pass
    return numpy.dtype(_BITS.get(name, "|u1"))


class Tensor:
    """A tensor that still lies in its file. Nothing is read until `numpy()`, `torch()`, `__array__` or DLPack asks; each read
    goes straight into the memory of the result, without the GIL."""

    __slots__ = ("_tensor", "name")

    def __init__(self, tensor, name):
        self._tensor = tensor
        self.name = name

    @property
    def shape(self):
        """Sizes, outermost first."""
        return self._tensor.shape

    @property
    def dtype(self):
        """torch's name of the element type: "float32", "bfloat16" …"""
        return self._tensor.dtype

    @property
    def nbytes(self):
        """Size in bytes."""
        return self._tensor.nbytes

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self):
        """Number of elements."""
        count = 1
        for n in self.shape:
            count *= n
        return count

    def numpy(self, raw=False, copy=True):
        """Reads it into a new numpy.ndarray. bfloat16 and float8 need ml_dtypes; without it, or with `raw`, their bits come as
        uint16 and uint8. `copy=False` maps the file's own bytes instead, to be read when they are looked at (writing to them changes no
        file); UnsupportedError where they do not lie there in one piece."""
        import numpy
        dtype = numpy_dtype(self.dtype, raw)
        if not copy:
            return numpy.frombuffer(self._tensor.view(), dtype).reshape(self.shape)
        array = numpy.empty(self.shape, dtype)
        if array.nbytes:
            self._tensor.read_into(array.reshape(-1).view(numpy.uint8))
        return array

    def torch(self, copy=True):
        """Reads it into a new torch.Tensor; `copy=False` maps it, as for numpy()."""
        import torch
        dtype = getattr(torch, self.dtype, None)
        if dtype is None:
            raise TypeError(f"{self.name}: torch {torch.__version__} has no {self.dtype}")
        if not copy:
            return torch.frombuffer(self._tensor.view(), dtype=dtype).reshape(self.shape)
        data = torch.empty(self.nbytes, dtype=torch.uint8)
        if self.nbytes:
            self._tensor.read_into(data.numpy())
        return data.view(dtype).reshape(self.shape)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy(copy=copy is not False)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __dlpack__(self, stream=None, copy=None, **_):
        return self._tensor.dlpack(copy is not False)

    def __dlpack_device__(self):
        return 1, 0  # kDLCPU

    def __getitem__(self, index):
        """A part along the first axis, still unread: `t[3]`, `t[10:20]`; any other index reads and lets numpy answer."""
        if isinstance(index, slice) and self.ndim:
            start, stop, step = index.indices(self.shape[0])
            if step == 1:
                return Tensor(self._tensor.narrow(0, start, max(0, stop - start)), self.name)
        elif isinstance(index, int) and self.ndim:
            at = index + self.shape[0] if index < 0 else index
            if not 0 <= at < self.shape[0]:
                raise IndexError(f"{self.name}: index {index} of {self.shape[0]}")
            return Tensor(self._tensor.narrow(0, at, 1), self.name).numpy()[0]
        return self.numpy()[index]

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __repr__(self):
        return f"anemone.Tensor({self.name!r}, shape={self.shape}, dtype={self.dtype})"
