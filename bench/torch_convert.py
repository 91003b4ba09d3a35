"""The conversion as a plain torch script does it (bench/convert.py): read, rename, interleave q, k and v, torch.save, tar.

usage: torch_convert.py DIR OUT.nemo      prints the seconds spent after the imports
"""

import collections
import json
import os
import sys
import tarfile
import tempfile
import time

import torch
from safetensors.torch import load_file


def interleave(q, k, v, heads):
    """Row blocks of q, k, v head by head, as Megatron-core stores them."""
    width = q.shape[0] // heads
    parts = [t.reshape(heads, width, *t.shape[1:]) for t in (q, k, v)]
    return torch.stack(parts, 1).reshape(-1, *q.shape[1:])


def convert(source, config):
    out = collections.OrderedDict()
    towers = {"text_model": ("text_encoder", config["text_config"]), "vision_model": ("vision_encoder", config["vision_config"])}
    singles = {
        "logit_scale": "logit_scale", "text_projection.weight": "text_encoder.head.weight", "visual_projection.weight": "vision_encoder.head.weight",
        "text_model.embeddings.token_embedding.weight": "text_encoder.embedding.word_embeddings.weight",
        "text_model.embeddings.position_embedding.weight": "text_encoder.embedding.position_embeddings.weight",
        "vision_model.embeddings.class_embedding": "vision_encoder.class_token",
        "vision_model.embeddings.patch_embedding.weight": "vision_encoder.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "vision_encoder.position_embeddings.weight"}
    for end in ("weight", "bias"):
        singles[f"text_model.final_layer_norm.{end}"] = f"text_encoder.final_layernorm.{end}"
        singles[f"vision_model.pre_layrnorm.{end}"] = f"vision_encoder.ln_pre.{end}"
        singles[f"vision_model.post_layernorm.{end}"] = f"vision_encoder.final_layernorm.{end}"
    for old, new in singles.items():
        tensor = source[old]
        out["model." + new] = tensor.reshape(1, 1, -1) if new.endswith("class_token") else tensor
    for tower, (name, sizes) in towers.items():
        for i in range(sizes["num_hidden_layers"]):
            old, new = f"{tower}.encoder.layers.{i}.", f"model.{name}.decoder.layers.{i}."
            for end in ("weight", "bias"):
                q, k, v = (source[f"{old}self_attn.{p}_proj.{end}"] for p in "qkv")
                out[f"{new}self_attention.linear_qkv.{end}"] = interleave(q, k, v, sizes["num_attention_heads"])
                out[f"{new}self_attention.linear_proj.{end}"] = source[f"{old}self_attn.out_proj.{end}"]
                out[f"{new}self_attention.linear_qkv.layer_norm_{end}"] = source[f"{old}layer_norm1.{end}"]
                out[f"{new}mlp.linear_fc1.layer_norm_{end}"] = source[f"{old}layer_norm2.{end}"]
                out[f"{new}mlp.linear_fc1.{end}"] = source[f"{old}mlp.fc1.{end}"]
                out[f"{new}mlp.linear_fc2.{end}"] = source[f"{old}mlp.fc2.{end}"]
    return out


def main():
    start = time.perf_counter()
    source, target = sys.argv[1:]
    with open(os.path.join(source, "config.json")) as file:
        config = json.load(file)
    state = convert(load_file(os.path.join(source, "model.safetensors")), config)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(target))) as folder:
        torch.save(state, os.path.join(folder, "model_weights.ckpt"))
        with open(os.path.join(folder, "model_config.yaml"), "w") as file:
            json.dump(config, file)
        with tarfile.open(target, "w:") as tar:  # as NeMo's save_to
            tar.add(folder, arcname=".")
    with open(target, "rb") as file:
        os.fsync(file.fileno())
    print(f"{time.perf_counter() - start:.3f}")


if __name__ == "__main__":
    main()
