"""Opens a .nemo, lists its tensors, reads one, changes the config, saves, and converts the result to Hugging Face.

usage: python3 edit.py clip.nemo tuned.nemo clip-hf
"""
import sys

import anemone

source, tuned, folder = sys.argv[1:]
model = anemone.models.Model.restore_from(source)
for name, tensor in model.checkpoint.items():
    print(name, tensor.dtype, tensor.shape)
print(next(iter(model.checkpoint.values())).numpy().mean())
model.cfg.optim = {"lr": 3e-4}
model.save_to(tuned, force=False)
anemone.convert(tuned, folder, to="hf")
