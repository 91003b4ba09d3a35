"""What the program's commands do, as functions."""

import os

from . import _anemone
from ._checkpoint import Checkpoint


def _path(path):
    return os.fspath(path)


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


def _value_text(value):
    import json
    return value if isinstance(value, str) else json.dumps(value)


def open(path, *, dialect=None, framework="numpy", progress=None, tqdm=False):  # noqa: A001
    """Opens a checkpoint of any format (or a hub id), reading its headers only.

    `dialect` gives other names to the tensors on the fly: "hf", "openclip", "mcore", "legacy" or "canonical". `framework` is
    what get_tensor answers: "numpy" or "torch" ("pt"), as in safetensors' safe_open.
    """
    with _Progress(progress, tqdm) as callback:
        return Checkpoint(_anemone.open(_path(path), callback), dialect, framework)


def convert(src, dst, *, to=None, hparams=None, dialect=None, architecture=None, vocab_size=None, tokenizer=None, table=None, preset=None, model_class=None, model_id=None,
            nemo2_version=None, tp=None, pp=None, vp=None, split_rank=None, dtype=None, set=None, unset=None, artifacts=None, extra_state=None,  # noqa: A002
            only_weights=None, use_ema=None, strict=None, max_shard_bytes=None, force=False, threads=0, progress=None, tqdm=False):
    """Turns any checkpoint into any other; `anemone convert` with the same options.

    `model_class` is NeMo's class of a training whose config names none ("megatron_clip"), `model_id` the model's id in NeMo's
    convert_nemo1_to_nemo2, `nemo2_version` the NeMo 2 that is to read the result. `set` and `artifacts` are dicts of config paths, `unset` a list of them. `progress(stage, done_bytes, total_bytes)` is
    called in this thread now and then; answering False stops, and so does Ctrl-C: no output is left. Answers a dict with
    destination, format, bytes_written and notes.
    """
    for name, value in (("set", set), ("artifacts", artifacts)):
        if value is not None and not hasattr(value, "items"):
            raise TypeError(f"{name}: expected a dict, found {type(value).__name__}")
    options = {
        "to": to, "hparams": hparams and _path(hparams), "dialect": dialect,
        "architecture": architecture, "vocab_size": vocab_size,
        "tokenizer": tokenizer and _path(tokenizer), "table": table and _path(table), "preset": preset,
        "model_class": model_class, "model_id": model_id, "nemo2_version": nemo2_version,
        "tp": tp, "pp": pp, "vp": vp, "split_rank": split_rank,
        "dtype": None if dtype in (None, "keep") else str(dtype).replace("torch.", ""),
        "set": [(key, _value_text(value)) for key, value in (set or {}).items()], "unset": unset,
        "artifacts": [(key, _path(file)) for key, file in (artifacts or {}).items()], "extra_state": extra_state,
        "only_weights": only_weights, "use_ema": use_ema, "strict": strict, "max_shard_bytes": max_shard_bytes}
    with _Progress(progress, tqdm) as callback:
        return _anemone.convert(_path(src), _path(dst), options, threads, force, callback)


def reshard(src, dst, *, tp=None, pp=None, vp=None, **options):
    """The same checkpoint for another tensor and pipeline layout; options as for convert()."""
    if tp is None and pp is None and vp is None:
        from ._errors import InvalidArgumentError
        raise InvalidArgumentError("expected tp, pp or vp")
    return convert(src, dst, tp=tp, pp=pp, vp=vp, **options)


def diff(first, second, *, canonical=False, only_weights=False, progress=None, tqdm=False):
    """How two checkpoints differ: a dict with equal, tensors_compared, tensors, config, artifacts. `canonical` compares across
    dialects and layouts."""
    with _Progress(progress, tqdm) as callback:
        return _anemone.diff(_path(first), _path(second), canonical, only_weights, callback)


def verify(path, *, progress=None, tqdm=False):
    """Reads everything and checks it: a dict with ok, problems, tensors, bytes_read. What is wrong is an answer, no exception."""
    with _Progress(progress, tqdm) as callback:
        return _anemone.verify(_path(path), callback)


def scan(path):
    """What a file would import, call or write when other software loads it: a list of dicts with file, what, name, where and
    danger ("inert", "unknown", "calls"). Nothing is executed to find out."""
    return _anemone.scan(_path(path))


def infer(model, images, texts, *, logit_scale=None, threads=0):
    """Probabilities of each text for each image, float32 [images, texts], with a CLIP of any format; see
    anemone.models.MegatronCLIPModel for more than one call."""
    from .models import MegatronCLIPModel
    return MegatronCLIPModel.restore_from(model, threads=threads, keep_weights=False).classify(images, texts, logit_scale=logit_scale)
