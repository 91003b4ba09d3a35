#!/usr/bin/env python3
"""What open_clip and transformers compute where a field of their configs is not at its default.

    make_clip_fields_golden.py fields
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c fields | xz -9e > tests/golden/fields.tar.xz

open_clip.safetensors: one small CLIP. NAME.json: an open_clip_config.json; NAME.safetensors: pixels, ids and features of that CLIP
built by it. picture.png; pixels.json: for each case the files of a model's folder; pixels.safetensors: each case's pixels.
Made with torch 2.15, open_clip 3.3, transformers 5.24, Pillow 12.
"""
import copy
import json
import pathlib
import sys

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file

SIDE = 24
BASE = {"embed_dim": 24, "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 9, "vocab_size": 120, "width": 16, "heads": 4, "layers": 2}}
MODELS = {
    "plain": {},
    "epsilon": {"vision_cfg": {"norm_kwargs": {"eps": 1e-2}}, "text_cfg": {"norm_kwargs": {"eps": 1e-3}}},
    "tanh": {"vision_cfg": {"act_kwargs": {"approximate": "tanh"}}, "text_cfg": {"act_kwargs": {"approximate": "none"}}},
    "eos": {"text_cfg": {"pool_type": "eos", "eos_id": 7}},
    "no_effect": {"init_logit_bias": -10, "vision_cfg": {"final_ln_after_pool": True, "patch_dropout": 0.5},
                  "text_cfg": {"pad_id": 3, "eos_id": 5, "final_ln_after_pool": True, "hf_proj_type": "linear"}},
}
OPEN = {"squash": {"resize_mode": "squash"}, "longest": {"resize_mode": "longest", "fill_color": 100}, "bilinear": {"interpolation": "bilinear"},
        "random": {"interpolation": "random"}, "numbers": {"mean": 0.5, "std": 0.25}, "longest_bilinear": {"resize_mode": "longest", "interpolation": "bilinear"}}
CLIP = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
HUGGING_FACE = {
    "normalize": {**CLIP, "do_normalize": False},
    "rescale": {**CLIP, "do_rescale": False},
    "factor": {**CLIP, "rescale_factor": 0.01},
    "crop": {**CLIP, "size": {"height": 31, "width": 40}},
    "no_crop": {**CLIP, "size": {"height": SIDE, "width": SIDE}, "do_center_crop": False},
    "number": {**CLIP, "size": 30, "crop_size": SIDE},
    "pair": {**CLIP, "size": [40, 30]},
    "no_resize": {**CLIP, "do_resize": False},
    "bilinear_hf": {**CLIP, "resample": 2},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": SIDE, "width": SIDE}},
}


def merged(config, edit):
    config = copy.deepcopy(config)
    for key, value in edit.items():
        if isinstance(value, dict) and key in config:
            config[key].update(value)
        else:
            config[key] = value
    return config


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    from open_clip.model import CLIP as Model
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    torch.manual_seed(20250101)
    weights = Model(**merged(BASE, {})).state_dict()
    for name, value in weights.items():
        if value.dim() == 1:
            value += torch.randn_like(value) * 0.1
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, out / "open_clip.safetensors")
    ids = torch.randint(8, 119, (3, 9))
    ids[0, 4], ids[0, 6], ids[1, 8], ids[2, 1] = 119, 7, 119, 7
    ids[0, 7:], ids[2, 2:] = 0, 0
    pixels = torch.randn(2, 3, SIDE, SIDE)
    for name, edit in MODELS.items():
        config = merged(BASE, edit)
        model = Model(**copy.deepcopy(config)).eval()
        model.load_state_dict(weights, strict=False)
        (out / f"{name}.json").write_text(json.dumps({"model_cfg": config}) + "\n")
        with torch.no_grad():
            save_file({"pixels": pixels, "ids": ids, "image": model.encode_image(pixels), "text": model.encode_text(ids)}, out / f"{name}.safetensors")

    noise = numpy.random.default_rng(1).integers(0, 256, (5, 8, 3), dtype=numpy.uint8)
    Image.fromarray(noise).resize((53, 34), Image.Resampling.BICUBIC).save(out / "picture.png")
    picture = Image.open(out / "picture.png").convert("RGB")
    cases, tensors = {}, {}
    for name, edit in OPEN.items():
        cases[name] = {"open_clip_config.json": {"model_cfg": BASE, "preprocess_cfg": edit}}
        tensors[name] = image_transform_v2(PreprocessCfg(size=SIDE, **edit), is_train=False)(picture)
    for name, edit in HUGGING_FACE.items():
        cases[name] = {"preprocessor_config.json": edit}
        processor = (SiglipImageProcessorPil if name == "siglip" else CLIPImageProcessorPil)(**edit)
        tensors[name] = torch.as_tensor(numpy.asarray(processor([picture], return_tensors="np")["pixel_values"]))[0]
    cases["nested"] = {"processor_config.json": {"image_processor": HUGGING_FACE["normalize"], "processor_class": "CLIPProcessor"},
                       "preprocessor_config.json": CLIP}
    tensors["nested"] = tensors["normalize"].clone()
    (out / "pixels.json").write_text(json.dumps(cases, indent=1) + "\n")
    save_file({k: v.float().contiguous() for k, v in tensors.items()}, out / "pixels.safetensors")


main()
