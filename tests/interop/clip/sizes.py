"""Every published size at its full shapes, through the command line: presets, NeMo's YAMLs, an OpenCLIP training's run.

usage: sizes.py ANEMONE GOLDEN_DIR SOURCE_DIR [unittest's arguments]
Needs python3-torch and python3-yaml (scripts/deps test). A tensor of any shape is one number that every element shares, so the
files are small.
"""

import json
import math
import pathlib
import struct
import subprocess
import sys
import unittest

import torch
import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "testing"))
from folder_case import FolderCase  # noqa: E402

ANEMONE, GOLDEN, SOURCE = (pathlib.Path(path).resolve() for path in sys.argv[1:4])
YAMLS = SOURCE / "tests" / "unit" / "family" / "data"

# width, layers, heads, feed-forward size of each tower; millions of parameters as OpenCLIP's docs/model_profile.csv counts them.
SIZES = {
    "ViT-B-32": ((768, 12, 12, 3072), (512, 12, 8, 2048), 512, 224, 32, 151.28),
    "ViT-B-16": ((768, 12, 12, 3072), (512, 12, 8, 2048), 512, 224, 16, 149.62),
    "ViT-L-14": ((1024, 24, 16, 4096), (768, 12, 12, 3072), 768, 224, 14, 427.62),
    "ViT-L-14-336": ((1024, 24, 16, 4096), (768, 12, 12, 3072), 768, 336, 14, 427.94),
    "ViT-H-14": ((1280, 32, 16, 5120), (1024, 24, 16, 4096), 1024, 224, 14, 986.11),
    "ViT-g-14": ((1408, 40, 16, 6144), (1024, 24, 16, 4096), 1024, 224, 14, 1366.68),
    "ViT-bigG-14": ((1664, 48, 16, 8192), (1280, 32, 20, 5120), 1280, 224, 14, 2539.57),
    "ViT-e-14": ((1792, 56, 16, 15360), (1280, 36, 20, 5120), 1280, 224, 14, 4581.09),
}


def layer(prefix, names, width, ffn):
    shapes = {"norm1": [width], "out": [width, width], "norm2": [width], "up": [ffn, width], "down": [width, ffn]}
    result = {}
    for part, shape in shapes.items():
        result |= {f"{prefix}{names[part]}.weight": shape, f"{prefix}{names[part]}.bias": shape[:1]}
    return result


def openclip(size):
    vision, text, projection, image, patch, _ = SIZES[size]
    names = dict(norm1="ln_1", out="attn.out_proj", norm2="ln_2", up="mlp.c_fc", down="mlp.c_proj")
    shapes = {"positional_embedding": [77, text[0]], "text_projection": [text[0], projection], "logit_scale": [],
              "token_embedding.weight": [49408, text[0]], "visual.class_embedding": [vision[0]], "visual.proj": [vision[0], projection],
              "visual.positional_embedding": [(image // patch) ** 2 + 1, vision[0]], "visual.conv1.weight": [vision[0], 3, patch, patch]}
    for norm, width in (("visual.ln_pre", vision[0]), ("visual.ln_post", vision[0]), ("ln_final", text[0])):
        shapes |= {f"{norm}.weight": [width], f"{norm}.bias": [width]}
    for prefix, (width, layers, _, ffn) in (("visual.", vision), ("", text)):
        for i in range(layers):
            block = f"{prefix}transformer.resblocks.{i}."
            shapes |= layer(block, names, width, ffn)
            shapes |= {f"{block}attn.in_proj_weight": [3 * width, width], f"{block}attn.in_proj_bias": [3 * width]}
    return shapes


def hf_tower(prefix, width, layers, ffn):
    names = dict(norm1="layer_norm1", out="self_attn.out_proj", norm2="layer_norm2", up="mlp.fc1", down="mlp.fc2")
    shapes = {}
    for i in range(layers):
        block = f"{prefix}encoder.layers.{i}."
        shapes |= layer(block, names, width, ffn)
        for part in "qkv":
            shapes |= {f"{block}self_attn.{part}_proj.weight": [width, width], f"{block}self_attn.{part}_proj.bias": [width]}
    return shapes


def hugging_face(size):
    vision, text, projection, image, patch, _ = SIZES[size]
    shapes = {"logit_scale": [], "text_model.embeddings.token_embedding.weight": [49408, text[0]],
              "text_model.embeddings.position_embedding.weight": [77, text[0]], "text_projection.weight": [projection, text[0]],
              "vision_model.embeddings.class_embedding": [vision[0]], "visual_projection.weight": [projection, vision[0]],
              "vision_model.embeddings.patch_embedding.weight": [vision[0], 3, patch, patch],
              "vision_model.embeddings.position_embedding.weight": [(image // patch) ** 2 + 1, vision[0]]}
    for norm, width in (("vision_model.pre_layrnorm", vision[0]), ("vision_model.post_layernorm", vision[0]),
                        ("text_model.final_layer_norm", text[0])):
        shapes |= {f"{norm}.weight": [width], f"{norm}.bias": [width]}
    for prefix, (width, layers, _, ffn) in (("vision_model.", vision), ("text_model.", text)):
        shapes |= hf_tower(prefix, width, layers, ffn)
    return shapes


def hf_config(size, activation):
    vision, text, projection, image, patch, _ = SIZES[size]
    towers = [dict(zip(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), tower), hidden_act=activation)
              for tower in (vision, text)]
    return {"model_type": "clip", "projection_dim": projection, "text_config": towers[1],
            "vision_config": towers[0] | {"image_size": image, "patch_size": patch}}


def so400m():
    """google/siglip-so400m-patch14-384."""
    width, ffn = 1152, 4304
    shapes = {"logit_scale": [1], "logit_bias": [1], "text_model.embeddings.token_embedding.weight": [32000, width],
              "text_model.embeddings.position_embedding.weight": [64, width], "vision_model.head.probe": [1, 1, width],
              "vision_model.embeddings.patch_embedding.weight": [width, 3, 14, 14], "vision_model.embeddings.patch_embedding.bias": [width],
              "vision_model.embeddings.position_embedding.weight": [729, width],
              "vision_model.head.attention.in_proj_weight": [3 * width, width], "vision_model.head.attention.in_proj_bias": [3 * width]}
    for name, shape in (("vision_model.post_layernorm", [width]), ("text_model.final_layer_norm", [width]), ("text_model.head", [width, width]),
                        ("vision_model.head.attention.out_proj", [width, width]), ("vision_model.head.layernorm", [width]),
                        ("vision_model.head.mlp.fc1", [ffn, width]), ("vision_model.head.mlp.fc2", [width, ffn])):
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for prefix in ("vision_model.", "text_model."):
        shapes |= hf_tower(prefix, width, 27, ffn)
    tower = {"hidden_size": width, "intermediate_size": ffn, "num_hidden_layers": 27, "num_attention_heads": 16}
    return shapes, {"model_type": "siglip", "text_config": tower, "vision_config": tower | {"image_size": 384, "patch_size": 14}}


def tensors(shapes, prefix=""):
    return {prefix + name: torch.zeros([1] * len(shape)).expand(shape) for name, shape in shapes.items()}


class Sizes(FolderCase):
    def setUp(self):
        super().setUp()
        self.dir = pathlib.Path(self.dir)

    def run_anemone(self, *words, status=0):
        done = subprocess.run([ANEMONE, *map(str, words)], cwd=self.dir, capture_output=True, text=True)
        self.assertEqual(done.returncode, status, f"anemone {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        return done.stderr if status else done.stdout

    def plan(self, *words):
        return json.loads(self.run_anemone(*words, "--plan", "--json"))

    def folder(self, name, shapes, config):
        path = self.dir / name
        path.mkdir()
        torch.save(tensors(shapes), path / "pytorch_model.bin")
        (path / "config.json").write_text(json.dumps(config))
        return path

    def yaml(self, name, change=lambda config: None):
        """One of NeMo's, perhaps changed."""
        config = yaml.safe_load((YAMLS / name).read_text())
        change(config)
        (self.dir / name).write_text(yaml.safe_dump(config))
        return self.dir / name

    def test_presets_name_every_size(self):
        for size, (vision, text, *_, millions) in SIZES.items():
            layers = vision[1] + text[1]
            shapes = {"a": openclip(size), "b": hugging_face(size)}
            for name, dialect in shapes.items():
                self.assertEqual(round(sum(math.prod(shape) for shape in dialect.values()) / 1e6, 2), millions, size)
                torch.save(tensors(dialect), self.dir / f"{name}.pt")
            for source, words, preset, per_layer in (
                    ("a.pt", ["x.nemo"], size, 12), ("b.pt", ["x.nemo"], size, 12), ("b.pt", ["x.nemo", "--dialect", "legacy"], size, 12),
                    ("a.pt", ["x", "--to", "hf"], size + "-quickgelu", 16), ("b.pt", ["x", "--to", "openclip"], size.replace("-", "/"), 12)):
                self.assertEqual(self.plan("convert", source, *words, "--preset", preset)["tensors"], per_layer * layers + 14)
        self.assertIn("ViT-B-16", self.run_anemone("convert", "a.pt", "x.nemo", "--preset", "ViT-Z-99", status=64))
        self.run_anemone("convert", "a.pt", "x.nemo", "--preset", "ViT-B-16", "--plan", status=65)

    def test_nemos_clip_yamls(self):
        large = self.folder("large", hugging_face("ViT-L-14"), hf_config("ViT-L-14", "quick_gelu"))
        huge = self.folder("huge", hugging_face("ViT-H-14"), hf_config("ViT-H-14", "gelu"))
        base = self.folder("base", hugging_face("ViT-B-16"), hf_config("ViT-B-16", "gelu"))

        def as_1_23(config):  # all in which the L/14 YAML of v1.23.0 differs
            for node, keys in ((config, ("trainer", "exp_manager")), (config["model"], ("mcore_gpt", "transformer_engine"))):
                for key in keys:
                    del node[key]
            config["model"]["text"]["transformer_engine"] = False

        cases = [(large, self.yaml("megatron_clip_VIT-L-14.yaml"), 36), (huge, self.yaml("megatron_clip_VIT-H-14.yaml"), 56)]
        (self.dir / "v1.23.0").mkdir()
        cases.append((large, self.yaml("megatron_clip_VIT-L-14.yaml", as_1_23).rename(self.dir / "v1.23.0" / "large.yaml"), 36))
        self.yaml("megatron_clip_VIT-L-14.yaml")
        for folder, hparams, layers in cases:
            for words in (["x.nemo"], ["x.nemo", "--dialect", "legacy"]):
                self.assertEqual(self.plan("convert", folder, *words, "--hparams", hparams)["tensors"], 12 * layers + 14)
            script = ["--input_name_or_path", folder, "--output_path", "x.nemo", "--hparams_file", hparams]
            self.assertEqual(self.plan("nemo", "convert_clip_hf_to_nemo", *script)["tensors"], 12 * layers + 14)
            script = ["--arch", folder, "--version", "huggingface", "--nemo_file_path", "x.nemo", "--hparams_file", hparams]
            self.assertEqual(self.plan("nemo", "convert_external_clip_to_nemo", *script)["tensors"], 12 * layers + 14)
        # The YAML to train with from nothing fits no converted model in one field, and fits them all but for it.
        message = self.run_anemone("convert", base, "x.nemo", "--hparams", self.yaml("megatron_clip_config.yaml"), status=65)
        self.assertIn("in 1 field: vision.class_token_length: expected 1, found 8", message)
        one = self.yaml("megatron_clip_config.yaml", lambda config: config["model"]["vision"].update(class_token_length=1))
        self.assertEqual(self.plan("convert", base, "x.nemo", "--hparams", one)["tensors"], 12 * 24 + 14)

    def test_nemos_siglip_yamls(self):
        folder = self.folder("so400m", *so400m())
        script = ["nemo", "convert_siglip_hf_to_nemo", "--output_path", "x.nemo"]
        for name in ("megatron_siglip_so400m_14_384.yaml", "megatron_siglip_config.yaml"):
            for precision, size in (("32", 4), ("bf16", 2)):
                plan = self.plan(*script, "--input_name_or_path", folder, "--hparams_file", self.yaml(name), "--precision", precision)
                self.assertEqual(plan["tensors"], 12 * 54 + 26)
                self.assertAlmostEqual(plan["bytes_written"] / size / 877.96e6, 1, delta=0.001)
        # NeMo's own run with that YAML, its sizes made small.
        small = ["--input_name_or_path", GOLDEN / "siglip" / "hf_siglip", "--hparams_file", GOLDEN / "siglip" / "megatron_siglip.yaml"]
        for precision, golden in (("32", "siglip_32.nemo"), ("bf16", "siglip_bf16.nemo")):
            self.run_anemone(*script, *small, "--precision", precision, "--force")
            self.assertIn("equal", self.run_anemone("diff", "x.nemo", GOLDEN / "siglip" / golden, "--weights"))
        self.run_anemone(*script, *small, "--force")  # NeMo's default
        self.assertIn("equal", self.run_anemone("diff", "x.nemo", GOLDEN / "siglip" / "siglip_bf16.nemo", "--weights"))

    def test_an_openclip_training(self):
        """logs/NAME/params.txt names the model of logs/NAME/checkpoints/epoch_N.pt."""
        run = self.dir / "logs" / "run"
        (run / "checkpoints").mkdir(parents=True)
        epoch = run / "checkpoints" / "epoch_2.pt"
        torch.save({"epoch": 2, "name": "run", "state_dict": tensors(openclip("ViT-B-32"), "module."), "optimizer": {}}, epoch)
        self.assertIn("expected the config of these weights", self.run_anemone("convert", epoch, "x.nemo", status=66))
        params = {"batch_size": 64, "force_context_length": None, "force_image_size": None, "force_quick_gelu": False, "image_mean": None,
                  "model": "ViT-B-32", "precision": "amp", "train_data": "a: b"}

        def write(**changes):
            (run / "params.txt").write_text("".join(f"{k}: {v}\n" for k, v in (params | changes).items()))

        write()
        self.run_anemone("convert", epoch, "openclip", "--to", "openclip", "--dtype", "bf16")
        data = (self.dir / "openclip" / "open_clip_model.safetensors").read_bytes()
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        self.assertEqual({k: v["shape"] for k, v in header.items() if k != "__metadata__"}, openclip("ViT-B-32"))
        config = json.loads((self.dir / "openclip" / "open_clip_config.json").read_text())
        self.assertEqual((config["model_cfg"]["embed_dim"], config["model_cfg"].get("quick_gelu")), (512, None))
        self.assertEqual(self.plan("convert", epoch, "x.nemo")["tensors"], 12 * 24 + 14)
        write(force_quick_gelu=True, image_mean=[0.5, 0.5, 0.5])
        config = json.loads(self.run_anemone("inspect", epoch, "--config", "--json"))
        self.assertTrue(config["model_cfg"]["quick_gelu"])
        self.assertEqual(config["preprocess_cfg"]["mean"], [0.5, 0.5, 0.5])
        write(pretrained="openai")
        told = subprocess.run([ANEMONE, "inspect", epoch], capture_output=True, text=True).stderr
        self.assertIn("OpenCLIP up to 2.28 trained OpenAI's weights with QuickGELU", told)
        write(image_interpolation="bilinear", image_resize_mode="squash")
        config = json.loads(self.run_anemone("inspect", epoch, "--config", "--json"))
        self.assertEqual((config["preprocess_cfg"]["interpolation"], config["preprocess_cfg"]["resize_mode"]), ("bilinear", "squash"))
        write(image_resize_mode="nonsense")
        self.assertIn("expected shortest, longest or squash", self.run_anemone("convert", epoch, "x.nemo", status=65))
        # What the training began with says how its pictures are prepared, unless arguments do.
        for changes, expected in (({}, ([0.5] * 3, [0.5] * 3)), ({"image_mean": [0.25] * 3}, ([0.25] * 3, [0.5] * 3))):
            write(model="ViT-L-14", pretrained="laion2b_s32b-b82k", **changes)
            preprocess = json.loads(self.run_anemone("inspect", epoch, "--config", "--json"))["preprocess_cfg"]
            self.assertEqual((preprocess["mean"], preprocess["std"]), expected)
        write(model="ViT-H-14-quickgelu", pretrained="dfn5b")
        preprocess = json.loads(self.run_anemone("inspect", epoch, "--config", "--json"))["preprocess_cfg"]
        self.assertEqual(preprocess["resize_mode"], "squash")
        write(force_image_size=256)
        self.assertIn("[65, 768]", self.run_anemone("convert", epoch, "x.nemo", status=65))
        write(force_context_length="nonsense")
        self.assertIn("params.txt: force_context_length: expected numbers", self.run_anemone("convert", epoch, "x.nemo", status=65))
        write(model="my-model")
        self.assertIn("expected the config of these weights", self.run_anemone("convert", epoch, "x.nemo", status=66))
        # What the user says counts.
        write(model="ViT-B-16")
        self.run_anemone("convert", epoch, "x.nemo", status=65)
        self.plan("convert", epoch, "x.nemo", "--hparams", self.dir / "openclip" / "open_clip_config.json")
        (run / "params.txt").write_text("model: somebody else's\n")
        self.assertIn("expected the config of these weights", self.run_anemone("convert", epoch, "x.nemo", status=66))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
