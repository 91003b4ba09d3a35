"""What the program's commands do, as functions."""

import operator
import os

from . import _c
from ._checkpoint import Checkpoint
from ._config import to_json

_TEXTS = ("to", "hparams", "dialect", "table", "preset", "architecture", "model_class", "tokenizer", "tower", "base", "model_id", "nemo2_version", "key", "dtype", "extra_state", "reflink")
_NUMBERS = ("tp", "pp", "vp", "ep", "split_rank", "vocab", "vocab_size", "max_shard_bytes", "threads")
_FLAGS = ("dequantize", "only_weights", "use_ema", "strict", "verify_source", "crc32", "force", "tensors", "optimizer", "statistics")


def _is_flag(value):
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")  # numpy's


def _is_list_of_texts(value):
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def typed(options):
    """Options without those that are None. TypeError names one of the wrong type."""
    def wrong(name, expected, value):
        return TypeError(f"{name}: expected {expected}, found {type(value).__name__}")

    result = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in _TEXTS and not isinstance(value, str):
            raise wrong(name, "a str", value)
        if name in _NUMBERS:
            try:
                value = operator.index(None if _is_flag(value) else value)
            except TypeError:
                raise wrong(name, "an int", value) from None
            if name == "max_shard_bytes" and value < 0:
                raise TypeError(f"{name}: expected a non-negative int, found {value}")
        if name in _FLAGS:
            if not _is_flag(value):
                raise wrong(name, "a bool", value)
            value = bool(value)
        if name in ("set", "artifacts") and not hasattr(value, "items"):
            raise wrong(name, "a dict of config paths", value)
        if name == "unset" and not _is_list_of_texts(value):
            raise wrong(name, "a list of config paths", value)
        if name == "lora" and not _is_list_of_texts(value):
            raise wrong(name, "a list of paths", value)
        result[name] = value
    return result


def checked(options):
    """Options as the C API takes them."""
    return to_json(typed(options)).encode()


class _Tqdm:
    """A tqdm bar as a progress callback; a stage of its own for each stage."""

    def __init__(self):
        from tqdm.auto import tqdm
        self._tqdm = tqdm
        self._bar = None
        self._stage = None

    def __call__(self, stage, done, total):
        if stage != self._stage:
            self.close()
            self._bar, self._stage = self._tqdm(desc=stage, total=total, unit="B", unit_scale=True), stage
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self):
        if self._bar is not None:
            self._bar.close()


class _Progress:
    """The callback that `progress` or `tqdm` asks for, closed afterwards."""

    def __init__(self, progress, tqdm):
        if progress is not None and not callable(progress):
            raise TypeError(f"progress: expected a callable, found {type(progress).__name__}")
        self._progress = _Tqdm() if tqdm and progress is None else progress

    def __enter__(self):
        return self._progress

    def __exit__(self, *_):
        if isinstance(self._progress, _Tqdm):
            self._progress.close()


def open(path, *, key=None, dialect=None, framework="numpy", device="cpu", progress=None, tqdm=False):  # noqa: A001
    """Opens a checkpoint of any format (or a hub id), reading its headers only.

    Parameters
    ----------
    path : str or os.PathLike
    key : str, optional
        The dictionary of a torch file that holds the weights, where several may.
    dialect : str, optional
        Gives other names to the tensors on the fly: "hf", "openclip", "mcore", "legacy" or "canonical".
    framework : {"numpy", "torch"}
        What get_tensor answers, as in safetensors' safe_open ("np" and "pt" do as well).
    device : str or torch.device
        Where torch tensors are to be.
    progress : callable, optional
        Called with (stage, done_bytes, total_bytes); answering False stops the work.
    tqdm : bool
        Draws a bar.

    Returns
    -------
    Checkpoint
    """
    path, options = os.fspath(path), checked({"key": key})
    with _Progress(progress, tqdm) as callback:
        handle = _c.run(lambda following: _c.make("checkpoint", "open", _c.path_bytes(path), options, following), callback)
    return Checkpoint(handle, dialect, framework, device, reopen=(_open_again, (path, dialect, framework, device, key)))


def _open_again(path, dialect, framework, device, key=None):
    return open(path, key=key, dialect=dialect, framework=framework, device=device)


def convert(src, dst, *, to=None, hparams=None, dialect=None, architecture=None, vocab_size=None, tower=None, base=None, lora=None, tokenizer=None, table=None, preset=None, model_class=None, model_id=None,
            nemo2_version=None, key=None, tp=None, pp=None, vp=None, ep=None, split_rank=None, dtype=None, set=None, unset=None, artifacts=None, extra_state=None,  # noqa: A002
            dequantize=None, only_weights=None, use_ema=None, strict=None, max_shard_bytes=None, reflink=None, verify_source=None, crc32=None, force=False, threads=0, progress=None, tqdm=False):
    """Turns any checkpoint into any other, with the options of `anemone convert`.

    Parameters
    ----------
    src, dst : str or os.PathLike
        What is read (a file, a folder, a hub id), and what is written.
    to : str, optional
        "nemo", "nemo-dir", "ckpt", "pytorch", "safetensors", "hf", "openclip", "peft", "diffusers", "torch_dist", "nemo2",
        "megatron" or "megatron-bridge". Default: by the name of `dst`.
    hparams : str or os.PathLike, optional
        NeMo's YAML for the result, or the config of weights that have none.
    dialect : str, optional
        Names of tensors: "mcore", "legacy", "hf", "openclip". Default: by the format.
    architecture : str, optional
        From or to "hf": the model's class in transformers.
    vocab_size : int, optional
        To "hf": rows of the vocabulary.
    tower, base, tokenizer : str or os.PathLike, optional
        The image tower of a NeVA, the model that a LoRA adapts, another tokenizer.
    lora : list of str or os.PathLike, optional
        LoRAs to merge into the weights.
    table : str or os.PathLike, optional
        How a model of no known family is split.
    preset : str, optional
        A size by name, for a CLIP without a config: "ViT-L-14" …
    model_class : str, optional
        NeMo's class of a training whose config names none: "megatron_clip".
    model_id, nemo2_version : str, optional
        The model's id in NeMo's convert_nemo1_to_nemo2; the NeMo 2 that is to read the result.
    key : str, optional
        The dictionary of a torch file that holds the weights, where several may.
    tp, pp, vp, ep, split_rank : int, optional
        Tensor- and pipeline-parallel sizes, virtual chunks of a stage, ranks that divide experts, stages of an encoder.
    dtype : str or torch.dtype, optional
        Of floating-point tensors: "fp32", "bf16", "fp16".
    set, artifacts : dict, optional
        Config paths to values, and to files that are stored.
    unset : list of str, optional
        Config paths to remove.
    extra_state : {"keep", "drop", "require"}, optional
        Transformer Engine's _extra_state entries.
    dequantize : bool, optional
        Multiply weights in FP8 by the scales of their blocks, to bf16.
    only_weights, use_ema, strict, crc32 : bool, optional
        Leave training state; take the EMA weights; refuse what would not load; state checksums.
    max_shard_bytes : int, optional
        Size of a file of "hf" and "safetensors".
    reflink : {"auto", "always", "never"}, optional
        Share blocks with the source.
    verify_source : bool, optional
        False: records of the source that do not match their checksum are notes, and copied as they are; default: the first
        is an error. True reads for it what is shared with the source, too.
    force : bool
        Replace an existing output.
    threads : int
        Worker threads; 0 is one for each core.
    progress : callable, optional
        Called in this thread with (stage, done_bytes, total_bytes). Returning False stops the work, as Ctrl-C does: no
        output is left.
    tqdm : bool
        Draws a bar.

    Returns
    -------
    dict
        destination, format, bytes_written, notes.
    """
    options = checked({
        "to": to, "hparams": hparams and os.fspath(hparams), "dialect": dialect,
        "architecture": architecture, "vocab_size": vocab_size, "tower": tower and os.fspath(tower),
        "base": base and os.fspath(base),
        "lora": lora if lora is None or isinstance(lora, str) else [os.fspath(path) for path in lora],
        "tokenizer": tokenizer and os.fspath(tokenizer), "table": table and os.fspath(table), "preset": preset,
        "model_class": model_class, "model_id": model_id, "nemo2_version": nemo2_version, "key": key,
        "tp": tp, "pp": pp, "vp": vp, "ep": ep, "split_rank": split_rank,
        "dtype": None if dtype in (None, "keep") else str(dtype).replace("torch.", ""),
        "set": set, "unset": unset, "artifacts": artifacts, "extra_state": extra_state, "dequantize": dequantize, "only_weights": only_weights,
        "use_ema": use_ema, "strict": strict, "max_shard_bytes": max_shard_bytes, "reflink": reflink, "verify_source": verify_source, "crc32": crc32, "force": force, "threads": threads})
    source, destination = _c.path_bytes(src), _c.path_bytes(dst)
    with _Progress(progress, tqdm) as callback:
        return _c.run(lambda following: _c.json("convert", source, destination, options, following), callback)


def reshard(src, dst, *, tp=None, pp=None, vp=None, ep=None, **options):
    """Writes a checkpoint for another tensor- and pipeline-parallel layout.

    Parameters
    ----------
    src, dst : str or os.PathLike
    tp, pp, vp, ep : int, optional
        Tensor- and pipeline-parallel sizes, virtual chunks of a stage, ranks that divide experts. At least one is needed.
    **options
        Those of convert().

    Returns
    -------
    dict
        destination, format, bytes_written, notes.
    """
    if all(size is None for size in (tp, pp, vp, ep)):
        from ._errors import InvalidArgumentError
        raise InvalidArgumentError("expected tp, pp, vp or ep")
    return convert(src, dst, tp=tp, pp=pp, vp=vp, ep=ep, **options)


def diff(first, second, *, canonical=False, only_weights=False, progress=None, tqdm=False):
    """Compares two checkpoints.

    Parameters
    ----------
    first, second : str or os.PathLike
    canonical : bool
        Compares across dialects and layouts.
    only_weights : bool
        Leaves config and files aside.
    progress, tqdm
        As for open().

    Returns
    -------
    dict
        equal, tensors_compared, tensors, config, artifacts.
    """
    with _Progress(progress, tqdm) as callback:
        options = to_json({"canonical": canonical, "only_weights": only_weights}).encode()
        paths = _c.path_bytes(first), _c.path_bytes(second)
        return _c.run(lambda following: _c.json("diff", *paths, options, following), callback)


def verify(path, *, progress=None, tqdm=False):
    """Reads everything and checks it. What is wrong is an answer, not an exception.

    Parameters
    ----------
    path : str or os.PathLike
    progress, tqdm
        As for open().

    Returns
    -------
    dict
        ok, problems, unchecked (why names and shapes were not compared with a config), tensors, bytes_read.
    """
    with _Progress(progress, tqdm) as callback:
        return _c.run(lambda following: _c.json("verify", _c.path_bytes(path), following), callback)


def scan(path, *, progress=None, tqdm=False):
    """Lists what files would import, call or write when other software loads them. Nothing is executed to find out.

    Parameters
    ----------
    path : str or os.PathLike
    progress, tqdm
        As for open().

    Returns
    -------
    list of dict
        file, what, name, where, danger ("inert", "unknown" or "calls") and weights_only: whether torch.load(weights_only=True)
        takes a pickle's global.
    """
    with _Progress(progress, tqdm) as callback:
        return _c.run(lambda following: _c.json("scan", _c.path_bytes(path), following), callback)
