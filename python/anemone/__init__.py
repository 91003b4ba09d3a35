"""anemone: reads, writes, converts, reshards and verifies NVIDIA NeMo checkpoints.

    checkpoint = anemone.open("openai_clip.nemo")          # a mapping of names to tensors, read when asked for
    anemone.convert("clip-vit-large-patch14", "openai_clip.nemo")
    anemone.models.MegatronCLIPModel.restore_from("openai_clip.nemo").classify("girl.jpg", ["a dog", "a girl"])

`python -m anemone` is the program; `python -m anemone.nemo` lists NeMo's own scripts, ready for torchrun.
"""

from . import _c, models
from ._checkpoint import Checkpoint, Shard
from ._commands import average, clean, edit, extract, fetch, infer, inspect, pack, plan, report
from ._errors import (AlreadyExistsError, CannotCreateError, CorruptError, Error, InternalError, InterruptedError,
                      InvalidArgumentError, IoError, LimitExceededError, NotFoundError, OutOfMemoryError, UnavailableError, UnsupportedError)
from ._ops import convert, diff, open, reshard, scan, verify
from ._tensor import Slice, Tensor
from ._training import Opaque

__version__ = _c.plain("version").decode()

__all__ = ["AlreadyExistsError", "CannotCreateError", "Checkpoint", "CorruptError", "Error", "InternalError", "InterruptedError",
           "InvalidArgumentError", "IoError", "LimitExceededError", "NotFoundError", "Opaque", "OutOfMemoryError", "Shard", "Slice", "Tensor", "UnavailableError",
           "UnsupportedError", "__version__", "average", "clean", "convert", "diff", "edit", "extract", "fetch", "infer", "inspect", "models", "open",
           "pack", "plan", "report", "reshard", "scan", "verify"]


def __getattr__(name):
    if name in ("numpy", "torch"):  # they import those, which not everybody has
        from importlib import import_module
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
