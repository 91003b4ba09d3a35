"""Checkpoints of any format as torch tensors, by the calls of safetensors.torch.

    state = anemone.torch.load_file("openai_clip.nemo", device="cuda")
    anemone.torch.save_file(model.state_dict(), "tuned.nemo", config=config)
"""

import torch

from . import _ops, _save

__all__ = ["load_file", "safe_open", "save_file"]


def load_file(filename, device="cpu", *, dialect=None):
    """Reads all tensors of a checkpoint.

    Parameters
    ----------
    filename : str or os.PathLike
        A file, a folder or a hub id of any format.
    device : str or torch.device
        Where the tensors are to be.
    dialect : str, optional
        Other names for the tensors, as for anemone.open.

    Returns
    -------
    dict of str to torch.Tensor
    """
    with safe_open(filename, device=device, dialect=dialect) as file:
        return {name: file.get_tensor(name) for name in file}


def safe_open(filename, framework="pt", device="cpu", *, dialect=None):
    """Opens a checkpoint of any format as safetensors.safe_open opens a file: keys, get_tensor, get_slice, metadata.

    Returns
    -------
    anemone.Checkpoint
    """
    return _ops.open(filename, framework=framework, device=device, dialect=dialect)


def save_file(tensors, filename, metadata=None, *, config=None, force=False, progress=None, **options):
    """Writes tensors as a checkpoint, in the format that the file's name says.

    Parameters
    ----------
    tensors : Mapping of str to torch.Tensor
        They are not copied, unless they are on another device or not contiguous.
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
    for name, tensor in _save.as_mapping(tensors).items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, found {type(tensor).__name__}")
        kept[name] = tensor.detach().to("cpu").contiguous()
    rows = [(name, str(tensor.dtype).replace("torch.", ""), tensor.shape, tensor.data_ptr(), tensor.numel() * tensor.element_size())
            for name, tensor in kept.items()]
    return _save.save(rows, _save.path_of(filename), metadata, config, {**options, "force": force}, progress)
