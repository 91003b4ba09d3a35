"""Checkpoints made of arrays."""

import ctypes

from . import _c
from ._config import to_json
from ._ops import checked


def save(arrays, path, metadata, config, options, progress=None):
    """Writes arrays, (name, dtype by torch's name, shape, address, bytes) each, and a config as a checkpoint of any format."""
    text = None if config is None else to_json(config).encode()
    made = _c.make("checkpoint", "create", text)
    for name, dtype, shape, address, size in arrays:
        sizes = (ctypes.c_uint64 * len(shape))(*shape)
        _c.call("add_tensor", made, _c.text_bytes(name, "a tensor's name"), dtype.encode(), len(shape), sizes, address, size)
    for key, value in (metadata or {}).items():
        _c.call("add_metadata", made, _c.text_bytes(key, "metadata"), _c.text_bytes(value, "metadata"))
    destination, words = _c.path_bytes(path), checked(options)
    return _c.run(lambda following: _c.json("save", made, destination, words, following), progress)


def as_mapping(tensors):
    if not hasattr(tensors, "items"):
        raise TypeError(f"tensors: expected a dict of names to arrays, found {type(tensors).__name__}")
    for name in tensors:
        if not isinstance(name, str):
            raise TypeError(f"tensors: expected names that are str, found {type(name).__name__}")
    return tensors
