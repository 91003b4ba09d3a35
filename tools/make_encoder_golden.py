#!/usr/bin/env python3
"""Writes what transformers computes for models of tools/clip_random.py and for the golden CLIP and SigLIP checkpoints.

    make_encoder_golden.py GOLDEN_FOLDER infer/encoder
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c infer/encoder | xz -9e > tests/golden/encoder-clip.tar.xz

NAME.image.f32, NAME.text.f32 (features before normalisation), NAME.probs.f32 [images, texts]; pixels of random cases are
tools/clip_random.py's tensor "pixels", the golden ones' NAME.pixels.f32. Made with transformers 5.23.0, torch 2.15, fp32.
"""
import pathlib
import sys

import numpy as np
import torch
from transformers import SiglipModel

import clip_random

golden = pathlib.Path(sys.argv[1])
out = pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
torch.set_grad_enabled(False)
TEXTS = [[49406, 320, 1929, 49407], [49406, 320, 2368, 267, 736, 49407], [49406, 49407], [49406, 7, 49407, 8, 9, 49407],
         [49406] + [(i * 7919) % 49000 for i in range(75)] + [49407]]


def write(name, kind, values):
    (out / f"{name}.{kind}.f32").write_bytes(np.ascontiguousarray(values, dtype="<f4").tobytes())


def pooled(value):
    return value if isinstance(value, torch.Tensor) else value.pooler_output


def run(name, model, texts, images, pad):
    size = model.config.vision_config.image_size
    pixels = torch.from_numpy(clip_random.tensor("pixels", (images, 3, size, size)) * 32)  # the generator's scale is small
    longest = max(map(len, texts))
    ids = torch.tensor([t + [pad] * (longest - len(t)) for t in texts])
    output = model(input_ids=ids, pixel_values=pixels)
    write(name, "image", pooled(model.get_image_features(pixels)))
    write(name, "text", pooled(model.get_text_features(ids)))
    logits = output.logits_per_image
    write(name, "probs", torch.sigmoid(logits) if "siglip" in name else logits.softmax(-1))
    print(name, logits.numpy().round(2)[0][:5])


run("b32", clip_random.clip(**clip_random.B32), TEXTS, 2, 49407)
small = dict(vision=(3, 160, 200, 2), text=(2, 60, 100, 5), projection=24, image=42, patch=14, vocab=200, context=20)
short = [[198, 5, 6, 199], [198, 199], [198] + list(range(18)) + [199], [198, 7, 199, 9, 199]]
run("small_gelu", clip_random.clip(**small, act="gelu", eos=199), short, 3, 199)
run("small_tanh", clip_random.clip(**small, act="gelu_pytorch_tanh", eos=7), short, 1, 199)
run("small_siglip", clip_random.siglip((3, 72, 100, 6), (2, 72, 90, 4), 28, 14), [[5, 6, 7] + [1] * 13, [1] * 16, list(range(16))], 2, 1)

features = np.load(golden / "clip" / "hf_features.npz")
for kind in ("image", "text", "probs", "pixels"):
    write("golden_clip", kind, features[kind])
(out / "golden_clip.ids.txt").write_text("\n".join(" ".join(map(str, row)) for row in features["ids"]) + "\n")
features = np.load(golden / "siglip" / "hf_features.npz")
for kind, key in (("image", "image_features"), ("text", "text_features"), ("pixels", "pixel_values")):
    write("golden_siglip", kind, features[key])
# The stored logits were made with an attention mask, which SigLIP's own processor does not give.
model = SiglipModel.from_pretrained(golden / "siglip" / "hf_siglip").eval()
output = model(input_ids=torch.tensor(features["input_ids"]), pixel_values=torch.tensor(features["pixel_values"]))
write("golden_siglip", "probs", torch.sigmoid(output.logits_per_image))
(out / "golden_siglip.ids.txt").write_text("\n".join(" ".join(map(str, row)) for row in features["input_ids"]) + "\n")
