"""NeMo's own scripts under NeMo's names. `python -m anemone.nemo` lists them and their paths, for torchrun."""

import os
import sys

from anemone import _c

SCRIPTS = dict(_c.json("nemo_scripts"))
"""As NeMo v2.0.0 names them, and what each does."""


def run(module, path):
    """What each script does: `anemone nemo SCRIPT`, where it is the program and not imported."""
    if module == "__main__":
        from anemone.__main__ import program
        sys.exit(program("nemo", os.path.splitext(os.path.basename(path))[0]))
