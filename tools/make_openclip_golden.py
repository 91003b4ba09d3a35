#!/usr/bin/env python3
"""A TorchScript archive shaped as OpenAI's ViT-*.pt and an OpenCLIP training's epoch_N.pt, with what they compute.

    make_openclip_golden.py openclip
    tar --sort=name --owner=0 --group=0 --mtime=@0 -c openclip | xz -9e > tests/golden/openclip.tar.xz

openai.pt: traced by torch.jit, modules and attributes as [openai/CLIP clip/model.py], sizes as tensors, fp16 where OpenAI
converts (convolution, linear layers, attention, projections), fp32 elsewhere. epoch_3.pt: [open_clip src/open_clip_train/
main.py]: epoch, name, state_dict with `module.`, optimizer. NAME.safetensors: pixels, ids and features in fp32; NAME.json:
the OpenCLIP configuration. Made with torch 2.15, open_clip 3.3.
"""
import json
import pathlib
import sys
from collections import OrderedDict

import torch
from safetensors.torch import save_file
from torch import nn


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width)))
        self.ln_2 = nn.LayerNorm(width)
        self.causal = causal

    def forward(self, x):
        y = self.ln_1(x)
        mask = torch.full((x.shape[0], x.shape[0]), float("-inf"), dtype=x.dtype).triu_(1) if self.causal else None
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, causal):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, causal) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class Visual(nn.Module):
    def __init__(self, resolution, patch, width, layers, heads, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn((resolution // patch) ** 2 + 1, width) * width**-0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, False)
        self.proj = nn.Parameter(torch.randn(width, dim) * width**-0.5)

    def forward(self, x):
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], 1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x).permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj


class OpenAi(nn.Module):
    def __init__(self, resolution=32, patch=8, vision=(128, 1), text=(64, 2), dim=24, context=9, vocab=120):
        super().__init__()
        self.visual = Visual(resolution, patch, *vision, vision[0] // 64, dim)
        self.transformer = Transformer(*text, text[0] // 64, True)
        self.token_embedding = nn.Embedding(vocab, text[0])
        self.positional_embedding = nn.Parameter(torch.randn(context, text[0]) * 0.01)
        self.ln_final = nn.LayerNorm(text[0])
        self.text_projection = nn.Parameter(torch.randn(text[0], dim) * text[0] ** -0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        for name, value in (("input_resolution", resolution), ("context_length", context), ("vocab_size", vocab)):
            self.register_buffer(name, torch.tensor(value))

    def encode_text(self, ids):
        x = (self.token_embedding(ids) + self.positional_embedding).permute(1, 0, 2)
        x = self.ln_final(self.transformer(x).permute(1, 0, 2))
        return x[torch.arange(x.shape[0]), ids.argmax(-1)] @ self.text_projection

    def forward(self, image, ids):
        return self.visual(image), self.encode_text(ids)


def convert_weights(module):  # clip/model.py
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        module.half()
    if isinstance(module, nn.MultiheadAttention):
        for name in ("in_proj_weight", "in_proj_bias"):
            getattr(module, name).data = getattr(module, name).data.half()
    for name in ("text_projection", "proj"):
        if isinstance(getattr(module, name, None), nn.Parameter):
            getattr(module, name).data = getattr(module, name).data.half()


def inputs(size, context, vocab):
    ids = torch.randint(0, vocab - 1, (3, context))
    for row, end in enumerate((context - 1, 3, 1)):
        ids[row, end:] = 0
        ids[row, end] = vocab - 1
    return torch.randn(2, 3, size, size), ids


def expected(out, name, pixels, ids, image, text):
    save_file({"pixels": pixels, "ids": ids, "image": image.contiguous(), "text": text.contiguous()}, out / f"{name}.safetensors")


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(20250101)
    with torch.no_grad():
        model = OpenAi().eval()
        for parameter in model.parameters():  # few values, so that it packs small
            if parameter.dim() > 1:
                parameter.data = (parameter.data * 64).round() / 64
        pixels, ids = inputs(32, 9, 120)
        rounded = OpenAi().eval()
        model.apply(convert_weights)
        rounded.load_state_dict(model.state_dict())  # fp16 values in fp32
        image, text = rounded(pixels, ids)
        expected(out, "openai", pixels, ids, image, text)
        traced = torch.jit.trace(rounded, (pixels, ids))
        for key, value in model.state_dict().items():  # the traced module with OpenAI's mixture of dtypes
            holder = traced
            *path, leaf = key.split(".")
            for part in path:
                holder = getattr(holder, part)
            getattr(holder, leaf).data = value
        torch.jit.save(traced, out / "openai.pt")

    import open_clip.model

    config = {"embed_dim": 24, "quick_gelu": False, "vision_cfg": {"image_size": 24, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8, "mlp_ratio": 3.0},
              "text_cfg": {"context_length": 9, "vocab_size": 120, "width": 16, "heads": 4, "layers": 2}}
    (out / "epoch_3.json").write_text(json.dumps({"model_cfg": config}) + "\n")
    model = open_clip.model.CLIP(**config).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    pixels, ids = inputs(24, 9, 120)
    loss = model.encode_image(pixels).square().sum() + model.encode_text(ids).square().sum()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        expected(out, "epoch_3", pixels, ids, model.encode_image(pixels), model.encode_text(ids))
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    torch.save({"epoch": 3, "name": "2025_01_01-model_tiny", "state_dict": state, "optimizer": optimizer.state_dict()}, out / "epoch_3.pt")


main()
