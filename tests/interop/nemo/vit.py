"""A ViT that anemone converts computes what transformers computed: NeMo's model, by its source, on the converted tensors.

usage: vit.py ANEMONE GOLDEN_DIR [unittest's arguments]
The model below is proven on the file and the logits that NeMo v2.0.0 itself wrote.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest

import numpy
import torch
import yaml
from torch.nn import functional

ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])


def safetensors(path):
    """{name: tensor} of fp32 tensors."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: torch.from_numpy(numpy.frombuffer(data[slice(*at["data_offsets"])], "<f4").reshape(at["shape"]).copy())
            for name, at in header.items()}


def logits(path, pixels):
    """What NeMo's MegatronVitClassificationModel computes [NeMo v2.0.0 vit_backbone.py, megatron_vit_classification_models.py]."""
    with tarfile.open(path) as tar:
        files = {os.path.normpath(member.name): member for member in tar}
        weights = torch.load(io.BytesIO(tar.extractfile(files["model_weights.ckpt"]).read()), map_location="cpu")
        config = yaml.safe_load(tar.extractfile(files["model_config.yaml"]))
    width, heads, epsilon = config["hidden_size"], config["num_attention_heads"], float(config["layernorm_epsilon"])

    def linear(x, name):
        return functional.linear(x, weights[f"model.{name}.weight"], weights[f"model.{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, (width,), weights[f"model.{name}.weight"], weights[f"model.{name}.bias"], epsilon)

    x = functional.conv2d(pixels, weights["model.backbone.conv1.weight"], stride=config["patch_dim"]).flatten(2).transpose(1, 2)
    x = torch.cat([weights["model.backbone.cls_token"].expand(len(x), -1, -1), x], 1) + weights["model.backbone.position_embeddings.weight"]
    for layer in range(config["num_layers"]):
        name = f"backbone.transformer.layers.{layer}."
        qkv = linear(norm(x, name + "input_layernorm"), name + "self_attention.query_key_value")
        q, k, v = qkv.view(*qkv.shape[:2], heads, 3, width // heads).unbind(3)
        seen = torch.softmax(torch.einsum("bqhd,bkhd->bhqk", q, k) / (width // heads) ** 0.5, -1)
        x = x + linear(torch.einsum("bhqk,bkhd->bqhd", seen, v).reshape(x.shape), name + "self_attention.dense")
        inner = linear(norm(x, name + "post_attention_layernorm"), name + "mlp.dense_h_to_4h")
        x = x + linear(functional.gelu(inner, approximate="tanh" if config["openai_gelu"] else "none"), name + "mlp.dense_4h_to_h")
    x = norm(x, "backbone.transformer.final_layernorm")[:, 0]
    if config.get("finetune", False):
        return linear(x, "head")
    return linear(torch.tanh(linear(x, "head.dense_in")), "head.dense_out")


class Vit(unittest.TestCase):
    def test_the_model_is_nemos(self):
        wanted = safetensors(os.path.join(GOLDEN, "vit/nemo.safetensors"))
        found = logits(os.path.join(GOLDEN, "vit/nemo.nemo"), wanted["pixels"])
        self.assertLess((found - wanted["logits"]).abs().max(), 1e-5 * wanted["logits"].abs().max())

    def test_transformers_logits(self):
        for name in ("4_small", "4_tanh", "5_small", "5_tanh"):
            wanted = safetensors(os.path.join(GOLDEN, f"vit/{name}.safetensors"))
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                nemo = os.path.join(folder, "vit.nemo")
                subprocess.run([ANEMONE, "convert", os.path.join(GOLDEN, "vit", name), nemo, "-q"], check=True)
                found = logits(nemo, wanted["pixels"])
                self.assertLess((found - wanted["logits"]).abs().max(), 1e-5 * wanted["logits"].abs().max())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
