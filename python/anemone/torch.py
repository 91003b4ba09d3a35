"""Checkpoints of any format as torch tensors, by the calls of safetensors.torch.

    state = anemone.torch.load_file("openai_clip.nemo", device="cuda")
    anemone.torch.save_file(model.state_dict(), "tuned.nemo", config=config)
"""

import torch

from . import _device, _ops, _save

__all__ = ["load_file", "safe_open", "save_file"]


def load_file(filename, device="cpu", *, dialect=None, tp=None, pp=None, tp_rank=None, pp_rank=None):
    """Reads all tensors of a checkpoint, or those of one tensor- and pipeline-parallel rank.

    To a CUDA device several threads read into pinned windows, each copied while the next is read. On the CPU, bytes that
    are stored in one piece are mapped, as safetensors maps them: writing to a tensor changes no file.

    Parameters
    ----------
    filename : str or os.PathLike
        A file, a folder, an address or a hub id of any format.
    device : str or torch.device
        Where the tensors are to be.
    dialect : str, optional
        Other names for the tensors, as for anemone.open. Ranks need Megatron's: "mcore", "legacy".
    tp, pp : int, optional
        Into how many ranks the model is divided, whatever its file is. Default: as it is stored.
    tp_rank, pp_rank : int, optional
        Reads this rank's part alone. Default, where one of the four is given: 0.

    Returns
    -------
    dict of str to torch.Tensor
    """
    checkpoint = _ops.open(filename, framework="pt", device=device, dialect=dialect)
    if (tp, pp, tp_rank, pp_rank) == (None, None, None, None):
        return _device.load(checkpoint, device)
    return _device.load(checkpoint.rank(tp, pp, tp_rank or 0, pp_rank or 0), device)


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
    return _save.save(rows, filename, metadata, config, {**options, "force": force}, progress)
