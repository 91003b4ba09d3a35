#!/usr/bin/env python3
"""What NeMo v2.0.0's MegatronLatentDiffusion saved, without the weights of its random UNet, VAE and text encoder.

    make_stable_diffusion_golden.py SD.nemo OUT/sd
    tar --sort=name --owner=0 --group=0 --mtime=@0 -C OUT -c sd | xz -9e > tests/golden/sd.tar.xz

model_config.yaml: its config; names.txt: name and shape of every tensor, in NeMo's order; schedule.safetensors: its noise schedule. SD.nemo was
built with sizes of a few channels and saved by save_to.
"""
import io
import os
import sys
import tarfile

import torch
from safetensors.torch import save_file


def main():
    out = sys.argv[2]
    os.makedirs(out, exist_ok=True)
    with tarfile.open(sys.argv[1]) as tar:
        files = {os.path.normpath(member.name): tar.extractfile(member).read() for member in tar if member.isfile()}
    with open(os.path.join(out, "model_config.yaml"), "wb") as file:
        file.write(files["model_config.yaml"])
    weights = torch.load(io.BytesIO(files["model_weights.ckpt"]), map_location="cpu")
    with open(os.path.join(out, "names.txt"), "w") as file:
        for name, tensor in weights.items():
            print(name, *tensor.shape, file=file)
    save_file({name: tensor for name, tensor in weights.items() if name.count(".") == 1}, os.path.join(out, "schedule.safetensors"))


if __name__ == "__main__":
    main()
