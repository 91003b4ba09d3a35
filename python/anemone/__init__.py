"""anemone: reads, writes, converts, reshards and verifies NeMo multimodal checkpoints.

    checkpoint = anemone.open("openai_clip.nemo")          # a mapping of names to tensors, read when asked for
    anemone.convert("clip-vit-large-patch14", "openai_clip.nemo")
    anemone.models.MegatronCLIPModel.restore_from("openai_clip.nemo").classify("girl.jpg", ["a dog", "a girl"])

`python -m anemone` is the program; `python -m anemone.nemo` lists NeMo's own scripts, ready for torchrun.
"""

from . import models
from ._anemone import __version__
from ._checkpoint import Checkpoint, Shard
from ._errors import (AlreadyExistsError, CannotCreateError, CorruptError, Error, InternalError, InterruptedError,
                      InvalidArgumentError, IoError, LimitExceededError, NotFoundError, OutOfMemoryError, UnavailableError, UnsupportedError)
from ._ops import convert, diff, infer, open, reshard, scan, verify
from ._tensor import Tensor

__all__ = ["AlreadyExistsError", "CannotCreateError", "Checkpoint", "CorruptError", "Error", "InternalError", "InterruptedError",
           "InvalidArgumentError", "IoError", "LimitExceededError", "NotFoundError", "OutOfMemoryError", "Shard", "Tensor", "UnavailableError",
           "UnsupportedError", "__version__", "convert", "diff", "infer", "models", "open", "reshard", "scan", "verify"]
