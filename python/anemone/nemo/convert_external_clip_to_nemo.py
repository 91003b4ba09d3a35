"""NeMo's convert_external_clip_to_nemo.py with NeMo's own arguments; --help lists them. torchrun may start it: rank 0 does all the work."""
from anemone.nemo import run

run(__name__, __file__)
