"""NeMo's megatron_ckpt_to_nemo.py with NeMo's own arguments; --help lists them. torchrun may start it: rank 0 does all the work."""
import sys

from anemone.__main__ import program

if __name__ == "__main__":
    sys.exit(program("nemo", "megatron_ckpt_to_nemo"))
