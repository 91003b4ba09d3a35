"""Checkpoints of any format as numpy arrays, by the calls of safetensors.numpy.

    arrays = anemone.numpy.load_file("openai_clip.nemo")
    anemone.numpy.save_file(arrays, "weights.safetensors")
"""

import numpy

from . import _ops, _save

__all__ = ["load_file", "safe_open", "save_file"]


def load_file(filename, *, dialect=None):
    """Reads all tensors of a checkpoint.

    Parameters
    ----------
    filename : str or os.PathLike
        A file, a folder or a hub id of any format.
    dialect : str, optional
        Other names for the tensors, as for anemone.open.

    Returns
    -------
    dict of str to numpy.ndarray
    """
    with safe_open(filename, dialect=dialect) as file:
        return {name: file.get_tensor(name) for name in file}


def safe_open(filename, framework="numpy", device="cpu", *, dialect=None):
    """Opens a checkpoint of any format as safetensors.safe_open opens a file: keys, get_tensor, get_slice, metadata.

    Returns
    -------
    anemone.Checkpoint
    """
    return _ops.open(filename, framework=framework, device=device, dialect=dialect)


def save_file(tensors, filename, metadata=None, *, config=None, force=False, progress=None, **options):
    """Writes arrays as a checkpoint, in the format that the file's name says.

    Parameters
    ----------
    tensors : Mapping of str to numpy.ndarray
        They are not copied, unless they are not contiguous or not little-endian.
    filename : str or os.PathLike
        "x.safetensors", "x.nemo", "x.pt" …; the option `to` names a format instead.
    metadata : dict of str to str, optional
        What safetensors files carry.
    config : Mapping, optional
        The model's config; a .nemo needs one.
    force : bool
        Replaces an existing file.
    progress : callable, optional
        As for anemone.open.
    **options
        Those of anemone.convert: `dtype`, `tp`, `dialect`, `artifacts`, `strict` …

    Returns
    -------
    dict
        destination, format, bytes_written, notes.
    """
    kept = {}
    for name, array in _save.as_mapping(tensors).items():
        array = numpy.asarray(array, order="C")
        kept[name] = array.astype(array.dtype.newbyteorder("<"), copy=False)
    rows = [(name, array.dtype.name, array.shape, array.__array_interface__["data"][0], array.nbytes) for name, array in kept.items()]
    return _save.save(rows, filename, metadata, config, {**options, "force": force}, progress)
