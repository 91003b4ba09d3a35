#!/usr/bin/env python3
"""Towers alone, as transformers saves them, with what it computes from them.

    make_tower_golden.py towers GOLDEN_FOLDER
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c towers | xz -9e > tests/golden/towers.tar.xz

NAME/: config.json and model.safetensors by save_pretrained; NAME.safetensors: "pixels" of clip/test.jpg by the Pillow image
processor or "ids" of texts.json, and "features": CLIP's image_embeds, text_embeds, or pooler_output where there is no
projection, not normalised. Made with transformers 5.23, torch 2.15, fp32.
"""
import json
import pathlib
import sys

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from make_clip_golden import randomize

TEXTS = ["a dog", "two red squares on a blue background!", ""]
VISION = dict(hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8, projection_dim=20)
TEXT = dict(hidden_size=16, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, projection_dim=20, vocab_size=49408,
            bos_token_id=49406, eos_token_id=49407, pad_token_id=49407)
SIGLIP_TEXT = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=64, max_position_embeddings=8,
                   bos_token_id=0, eos_token_id=1, pad_token_id=1, projection_size=20)
MODELS = {
    "vision": (transformers.CLIPVisionModel, VISION),
    "vision_projected": (transformers.CLIPVisionModelWithProjection, VISION),
    "text": (transformers.CLIPTextModel, TEXT),
    "text_projected": (transformers.CLIPTextModelWithProjection, TEXT),
    "siglip_vision": (transformers.SiglipVisionModel, {k: v for k, v in VISION.items() if k != "projection_dim"}),
    "siglip_text": (transformers.SiglipTextModel, SIGLIP_TEXT),
}


def main():
    out, golden = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    (out / "texts.json").write_text(json.dumps(TEXTS) + "\n")
    torch.set_grad_enabled(False)
    image = Image.open(golden / "clip/test.jpg").convert("RGB")
    tokenizer = transformers.CLIPTokenizer(str(golden / "clip/hf/vocab.json"), str(golden / "clip/hf/merges.txt"))
    for seed, (name, (model_class, config)) in enumerate(MODELS.items()):
        model = model_class(model_class.config_class(**config)).eval()
        randomize(model, seed)
        model.save_pretrained(out / name)
        if "vision" in name:
            processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
            pixels = processor(images=image, return_tensors="pt")["pixel_values"]
            inputs, output = {"pixels": pixels}, model(pixel_values=pixels)
        elif "siglip" in name:
            ids = torch.randint(2, 64, (3, 8), generator=torch.Generator().manual_seed(seed))
            inputs, output = {"ids": ids}, model(input_ids=ids)
        else:
            ids = tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]
            inputs, output = {"ids": ids}, model(input_ids=ids)
        found = output.get("image_embeds", output.get("text_embeds", output.get("pooler_output")))
        save_file({**inputs, "features": found.contiguous()}, out / f"{name}.safetensors")
        print(name, tuple(found.shape), found.flatten()[:4].tolist())


main()
