#!/usr/bin/env python3
"""Writes the small Hugging Face CLIPs of tests/golden/torch.tar.xz with what transformers computes from them.

  venv/bin/python tools/make_clip_golden.py DIR/clip_hf --vocabulary DIR/clip/hf [--sized ViT-B-32 …]

Each folder is a model of its own awkward shape; expected.safetensors in it holds, for `image.png` and `texts.json` beside the
folders: pixel_values, input_ids (padded), image_embeds and text_embeds (normalised), logits_per_image, probabilities, all from
fp32 arithmetic on the stored weights; pixels by the Pillow image processor (transformers 5's torchvision one differs by 1 of 255
in half a percent of them). The tokenizer's files are links to DIR/clip/hf, as a hub cache has them. For a model too large to pack, which
tools/make_checkpoint makes anywhere, only that file is kept, as clip_hf/MODEL.safetensors, without pixel_values.
"""

import argparse
import json
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

TEXTS = ["a dog", "a boy", "two red squares on a blue background!", "", "Crème brûlée № 42 – 画像 🦊", "it's <|endoftext|> not the end", "word " * 90]

# name: (vision, text, projection, what else)
MODELS = {
    # heads differ between the towers, a patch that is no power of two, widths that are no multiples of 16, ffn ratio other than 4
    "odd": (dict(hidden_size=42, intermediate_size=90, num_hidden_layers=3, num_attention_heads=6, image_size=35, patch_size=5,
                 hidden_act="quick_gelu"),
            dict(hidden_size=20, intermediate_size=70, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu"), 23, {}),
    "gelu": (dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8,
                  hidden_act="gelu", layer_norm_eps=1e-6),
             dict(hidden_size=24, intermediate_size=96, num_hidden_layers=3, num_attention_heads=3, hidden_act="gelu"), 16, {}),
    "tanh_gelu_short": (dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, image_size=20,
                             patch_size=4, hidden_act="gelu_pytorch_tanh"),
                        dict(hidden_size=16, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
                             max_position_embeddings=12, hidden_act="gelu_pytorch_tanh"), 16, {}),
    "old_eos": (dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16),
                dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, bos_token_id=0, eos_token_id=2,
                     pad_token_id=1), 16, {}),
    "bf16": (dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=7),
             dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2), 12, dict(dtype=torch.bfloat16)),
    "fp16_sharded": (dict(hidden_size=48, intermediate_size=192, num_hidden_layers=4, num_attention_heads=3, image_size=32, patch_size=8),
                     dict(hidden_size=16, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4), 24,
                     dict(dtype=torch.float16, shards="safetensors")),
    "fp32_sharded_bin": (dict(hidden_size=48, intermediate_size=192, num_hidden_layers=2, num_attention_heads=3, image_size=32, patch_size=8),
                         dict(hidden_size=16, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4), 24, dict(shards="bin")),
    "bf16_bin": (dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=7),
                 dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2), 12,
                 dict(dtype=torch.bfloat16, shards="one bin")),
}


def randomize(model, seed):
    """Weights that make features differ; the token table repeats 64 rows, so that the pack is small."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("token_embedding.weight"):
                rows = torch.randn(61, p.shape[1], generator=g) * 0.3
                p.copy_(rows.repeat((p.shape[0] + 60) // 61, 1)[:p.shape[0]])
            elif name == "logit_scale":
                p.fill_(2.7)
            elif "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn(p.shape, generator=g))
            else:
                p.copy_(torch.randn(p.shape, generator=g) * (0.1 if p.dim() < 2 else 0.9 / p[0].numel() ** 0.5))


def picture():
    """A smooth colour picture of odd size."""
    y, x = np.mgrid[0:47, 0:61].astype(np.float64)
    channels = [127.5 + 127.5 * np.sin(x / 5 + y / 11), 127.5 + 127.5 * np.cos(x / 9 - y / 4), (x * 7 + y * 3) % 256]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def save_bin(model, folder, pieces):
    """pytorch_model.bin as transformers 4 saved it (5 no longer does)."""
    state = {k: v for k, v in model.state_dict().items() if "position_ids" not in k}
    if pieces == 1:
        torch.save(state, os.path.join(folder, "pytorch_model.bin"))
        return
    weight_map = {}
    names = list(state)
    for i in range(pieces):
        file = f"pytorch_model-{i + 1:05d}-of-{pieces:05d}.bin"
        part = names[i * len(names) // pieces:(i + 1) * len(names) // pieces]
        torch.save({k: state[k] for k in part}, os.path.join(folder, file))
        weight_map.update((k, file) for k in part)
    total = sum(v.numel() * v.element_size() for v in state.values())
    with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=2)
        file.write("\n")


def features(output):
    return getattr(output, "pooler_output", output)


def make(out, name, vocabulary, image, seed):
    vision, text, projection, how = MODELS[name]
    text = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407, **text}
    model = CLIPModel(CLIPConfig(vision_config={**vision, "projection_dim": projection}, text_config={**text, "projection_dim": projection},
                                 projection_dim=projection)).eval()
    randomize(model, seed)
    model = model.to(how.get("dtype", torch.float32))
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    if how.get("shards", "").endswith("bin"):
        model.config.architectures = ["CLIPModel"]
        model.config.dtype = how.get("dtype", torch.float32)
        model.config.save_pretrained(folder)
        save_bin(model, folder, 1 if how["shards"] == "one bin" else 3)
    else:
        model.save_pretrained(folder, **({"max_shard_size": "150KB"} if how.get("shards") else {}))
    size = vision["image_size"]
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor.save_pretrained(folder)
    file = os.path.join(folder, "preprocessor_config.json")
    with open(file) as stream:
        written = stream.read()
    with open(file, "w") as stream:
        stream.write(written.replace("CLIPImageProcessorPil", "CLIPImageProcessor"))
    length = text.get("max_position_embeddings", 77)
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        link = os.path.join(folder, file)
        if os.path.lexists(link):
            os.remove(link)
        os.symlink(os.path.join("..", "..", "clip", "hf", file), link)

    measure(model, processor, vocabulary, length, image, os.path.join(folder, "expected.safetensors"))


def measure(model, processor, vocabulary, length, image, out):
    tokenizer = CLIPTokenizer(os.path.join(vocabulary, "vocab.json"), os.path.join(vocabulary, "merges.txt"))
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")
    model = model.float().eval()
    with torch.no_grad():
        images = torch.nn.functional.normalize(features(model.get_image_features(pixel_values=pixels)), dim=-1)
        texts = torch.nn.functional.normalize(features(model.get_text_features(**tokens)), dim=-1)
        logits = model(pixel_values=pixels, **tokens).logits_per_image
    expected = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "image_embeds": images, "text_embeds": texts,
                "logits_per_image": logits, "probabilities": logits.softmax(-1)}
    if pixels.numel() < 10000:  # 224 x 224 would not pack
        expected["pixel_values"] = pixels
    save_file(expected, out)
    print(os.path.join(*out.split(os.sep)[-2:]), [round(p, 4) for p in logits.softmax(-1)[0].tolist()])


def measure_demo(folder, out):
    """Every picture in images/, by name, against every line of labels.txt."""
    names = sorted(os.listdir(os.path.join(folder, "images")))
    with open(os.path.join(folder, "labels.txt"), encoding="utf8") as file:
        labels = file.read().splitlines()
    images = [Image.open(os.path.join(folder, "images", n)).convert("RGB") for n in names]
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(images=images, return_tensors="pt")["pixel_values"]
    tokens = CLIPTokenizer.from_pretrained(folder)(labels, padding=True, return_tensors="pt")
    model = CLIPModel.from_pretrained(folder).float().eval()
    with torch.no_grad():
        image_embeds = torch.nn.functional.normalize(features(model.get_image_features(pixel_values=pixels)), dim=-1)
        text_embeds = torch.nn.functional.normalize(features(model.get_text_features(**tokens)), dim=-1)
        logits = model(pixel_values=pixels, **tokens).logits_per_image
    save_file({"pixel_values": pixels, "input_ids": tokens["input_ids"], "image_embeds": image_embeds, "text_embeds": text_embeds,
               "logits_per_image": logits.contiguous(), "probabilities": logits.softmax(-1).contiguous()}, out, metadata={"images": " ".join(names)})
    print("demo-clip", [round(p, 3) for p in logits.softmax(-1).max(-1).values.tolist()])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--demo", help="models/demo-clip")
    parser.add_argument("--sized", nargs="*", default=[], help="folders of tools/make_checkpoint, named after their model")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    image = picture()
    image.save(os.path.join(args.out, "image.png"), optimize=True)
    with open(os.path.join(args.out, "texts.json"), "w", encoding="utf8") as file:
        json.dump(TEXTS, file, ensure_ascii=False, indent=1)
    for seed, name in enumerate(MODELS):
        make(args.out, name, args.vocabulary, image, seed)
    if args.demo:
        measure_demo(args.demo, os.path.join(args.out, "demo-clip.safetensors"))
    for folder in args.sized:
        processor = CLIPImageProcessorPil.from_pretrained(folder)
        measure(CLIPModel.from_pretrained(folder), processor, args.vocabulary, 77, image,
                os.path.join(args.out, os.path.basename(os.path.normpath(folder)) + ".safetensors"))


if __name__ == "__main__":
    main()
