"""CLIP and SigLIP models with weights that are a function of their names, so that nothing large need be stored.

tests/unit/clip/random_weights.h computes the same numbers: element i of the tensor NAME is base + scale · u, where u in
[-1, 1) are the upper 24 bits of splitmix64's output i for the seed FNV-1a(NAME). Scales are powers of two: exact in fp32.
"""
import math

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel


def tensor(name, shape):
    shape = tuple(shape)
    base, scale = 0.0, 0.0
    if name == "logit_scale":
        base = 3.0
    elif name == "logit_bias":
        base = -2.0
    elif name.endswith(".bias"):
        scale = 0.125
    elif "norm" in name:
        base, scale = 1.0, 0.125
    elif name == "text.token_embedding.weight":
        scale = 0.25
    elif name.endswith("position_embedding.weight"):
        scale = 0.125
    elif name == "vision.class_embedding":
        scale = 0.5
    elif name == "vision.head.probe":
        scale = 1.0
    else:
        depth = math.prod(shape[1:])
        scale = 2.0 ** -((depth - 1).bit_length() // 2)  # about 1 / sqrt(depth)
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (u * np.float32(scale) + np.float32(base)).reshape(shape)


def canonical(hf):
    """The canonical name of a Hugging Face tensor, and which third of a stacked qkv it is (None: all of it)."""
    for part, third in (("q_proj", 0), ("k_proj", 1), ("v_proj", 2)):
        if part in hf:
            name, _ = canonical(hf.replace(part, "qkv"))
            return name, third
    name = hf
    for old, new in (("text_model.", "text."), ("vision_model.", "vision."), ("embeddings.", ""), ("encoder.layers", "layers"), ("self_attn.", "attn."),
                     ("head.attention.in_proj_", "head.attn.qkv."), ("head.attention.out_proj", "head.attn.out"), ("head.layernorm", "head.norm"),
                     ("out_proj", "out"), ("layer_norm1", "norm1"), ("layer_norm2", "norm2"), ("mlp.fc1", "mlp.up"), ("mlp.fc2", "mlp.down"),
                     ("pre_layrnorm", "pre_norm"), ("post_layernorm", "post_norm"), ("final_layer_norm", "final_norm"), ("text_projection", "text.projection"),
                     ("visual_projection", "vision.projection"), ("text.head", "text.projection")):
        name = name.replace(old, new)
    return name, None


def fill(model):
    state = {}
    for key, value in model.state_dict().items():
        if key.endswith("position_ids"):
            continue
        name, third = canonical(key)
        shape = list(value.shape)
        if third is not None:
            shape[0] *= 3
        data = tensor(name, shape)
        if third is not None:
            data = data[third * value.shape[0]:(third + 1) * value.shape[0]]
        state[key] = torch.from_numpy(np.ascontiguousarray(data)).reshape(value.shape)
    model.load_state_dict(state, strict=False)
    return model.eval()


def clip(vision, text, projection, image, patch, act="quick_gelu", eos=2, vocab=49408, context=77):
    """vision and text: (layers, width, ffn, heads)."""
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    config = CLIPConfig(projection_dim=projection,
                        text_config=dict(zip(names, text), hidden_act=act, eos_token_id=eos, bos_token_id=0, pad_token_id=1, vocab_size=vocab, max_position_embeddings=context),
                        vision_config=dict(zip(names, vision), hidden_act=act, image_size=image, patch_size=patch))
    return fill(CLIPModel(config))


def siglip(vision, text, image, patch, vocab=100, context=16):
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    config = SiglipConfig(text_config=dict(zip(names, text), vocab_size=vocab, max_position_embeddings=context),
                          vision_config=dict(zip(names, vision), image_size=image, patch_size=patch))
    return fill(SiglipModel(config))


B32 = dict(vision=(12, 768, 3072, 12), text=(12, 512, 2048, 8), projection=512, image=224, patch=32)
L14 = dict(vision=(24, 1024, 4096, 16), text=(12, 768, 3072, 12), projection=768, image=224, patch=14)
