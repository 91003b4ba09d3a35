#!/usr/bin/env python3
"""ViTs as transformers saves them, with what it computes from them; random weights, patches without a bias but in one.

    make_vit_golden.py OUT/vit          (once with each version of transformers)
    tar --sort=name --owner=0 --group=0 --mtime=@0 -C OUT -c vit | xz -9e > tests/golden/vit.tar.xz

vit/VERSION_NAME/: config.json and model.safetensors by save_pretrained; vit/VERSION_NAME.safetensors: pixels, logits. Made with
transformers 4.44.2 and 5.24. Beside them in the pack: vit/nemo.nemo, which NeMo v2.0.0's MegatronVitClassificationModel saved, and
vit/nemo.safetensors, its pixels and logits.
"""
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=72, image_size=32, patch_size=8, num_labels=10)
MODELS = {
    "small": SMALL,
    "tanh": dict(SMALL, hidden_size=24, num_attention_heads=2, intermediate_size=40, num_hidden_layers=3, image_size=(16, 24), patch_size=4,
                 hidden_act="gelu_new", layer_norm_eps=1e-6, num_labels=3, num_channels=1),
    "biased": SMALL,
}


def main():
    out = pathlib.Path(sys.argv[1])
    torch.set_grad_enabled(False)
    for seed, (name, sizes) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        config = transformers.ViTConfig(**sizes)
        model = transformers.ViTForImageClassification(config).eval()
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter if parameter.dim() == 1 else 0))
        if name != "biased":
            model.vit.embeddings.patch_embeddings.projection.bias.zero_()
        folder = f"{transformers.__version__.split('.')[0]}_{name}"
        model.save_pretrained(out / folder)
        height, width = config.image_size if isinstance(config.image_size, (list, tuple)) else (config.image_size,) * 2
        pixels = torch.randn(2, config.num_channels, height, width)
        save_file({"pixels": pixels, "logits": model(pixels).logits.contiguous()}, out / f"{folder}.safetensors")


main()
