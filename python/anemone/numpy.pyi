import os
from typing import Any, Callable, Dict, Mapping, Optional, Union

import numpy

from . import Checkpoint

Path = Union[str, "os.PathLike[str]"]

def load_file(filename: Path, *, dialect: Optional[str] = ...) -> Dict[str, numpy.ndarray]: ...
def safe_open(filename: Path, framework: str = ..., device: Any = ..., *, dialect: Optional[str] = ...) -> Checkpoint: ...
def save_file(tensors: Mapping[str, numpy.ndarray], filename: Path, metadata: Optional[Mapping[str, str]] = ..., *,
              config: Optional[Mapping[str, Any]] = ..., force: bool = ...,
              progress: Optional[Callable[[str, int, int], Optional[bool]]] = ..., **options: Any) -> Dict[str, Any]: ...
