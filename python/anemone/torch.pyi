import os
from typing import Any, Callable, Dict, Mapping, Optional, Union

import torch

from . import Checkpoint

Path = Union[str, "os.PathLike[str]"]

def load_file(filename: Path, device: Union[str, "torch.device"] = ..., *, dialect: Optional[str] = ..., tp: Optional[int] = ...,
              pp: Optional[int] = ..., tp_rank: Optional[int] = ..., pp_rank: Optional[int] = ...) -> Dict[str, torch.Tensor]: ...
def safe_open(filename: Path, framework: str = ..., device: Any = ..., *, dialect: Optional[str] = ...) -> Checkpoint: ...
def save_file(tensors: Mapping[str, torch.Tensor], filename: Path, metadata: Optional[Mapping[str, str]] = ..., *,
              config: Optional[Mapping[str, Any]] = ..., force: bool = ...,
              progress: Optional[Callable[[str, int, int], Optional[bool]]] = ..., **options: Any) -> Dict[str, Any]: ...
