"""CLIPs of every dialect, exported, in open_clip's and transformers' own code: loaded strictly, computing what they did.

usage: readers.py ANEMONE GOLDEN_DIR [unittest's arguments]
Not part of the ordinary tests, whose machine has neither: -DANEMONE_TRANSFORMERS_PYTHON=PYTHON adds it.
"""

import json
import pathlib
import subprocess
import sys
import unittest

import numpy as np
import open_clip
import open_clip.model
import torch
import transformers
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "testing"))
from folder_case import FolderCase  # noqa: E402

ANEMONE, GOLDEN = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
EPOCH = ("--hparams", GOLDEN / "openclip" / "epoch_3.json")
SOURCES = (("clip/hf", "golden_clip", ()), ("clip/mcore.nemo", "golden_clip", ()), ("clip/legacy.nemo", "golden_clip", ()),
           ("clip/mcore_tp2.nemo", "golden_clip", ()), ("openclip/openai.pt", "openclip/openai.safetensors", ()),
           ("openclip/epoch_3.pt", "openclip/epoch_3.safetensors", EPOCH))


def question(name):
    """pixels, ids, image features, text features."""
    if name.endswith(".safetensors"):
        tensors = load_file(GOLDEN / name)
        return tensors["pixels"], tensors["ids"], tensors["image"], tensors["text"]
    path = GOLDEN / "infer" / "encoder" / name
    ids = torch.tensor([list(map(int, line.split())) for line in path.with_suffix(".ids.txt").read_text().splitlines()])
    values = [torch.from_numpy(np.fromfile(path.with_suffix(f".{kind}.f32"), "<f4")) for kind in ("pixels", "image", "text")]
    side = round((values[0].numel() / 3) ** 0.5)
    return values[0].reshape(-1, 3, side, side), ids, values[1].reshape(1, -1), values[2].reshape(len(ids), -1)


def pooled(value):
    return getattr(value, "pooler_output", value)


class Readers(FolderCase):
    def convert(self, *words):
        done = subprocess.run([ANEMONE, "convert", *words, "--force"], cwd=self.dir, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def assertNear(self, found, expected):
        self.assertEqual(found.shape, expected.shape)
        found, expected = (torch.nn.functional.normalize(x, dim=-1) for x in (found, expected))  # some were kept so
        self.assertLess((found - expected).abs().max(), 1e-5)

    def assertAnswers(self, encode_image, encode_text, name):
        pixels, ids, image, text = question(name)
        with torch.no_grad():
            self.assertNear(pooled(encode_image(pixels)), image)
            self.assertNear(pooled(encode_text(ids)), text)

    def test_open_clip(self):
        for source, name, words in SOURCES:
            with self.subTest(source):
                self.convert(GOLDEN / source, "out", "--to", "openclip", "--dtype", "fp32", *words)
                config = json.loads((pathlib.Path(self.dir) / "out" / "open_clip_config.json").read_text())
                model = open_clip.model.CLIP(**config["model_cfg"]).eval()
                model.load_state_dict(load_file(self.path("out/open_clip_model.safetensors")), strict=True)
                length = config["model_cfg"]["text_cfg"]["context_length"]
                self.assertAnswers(model.encode_image, lambda ids: model.encode_text(torch.nn.functional.pad(ids, (0, length - ids.shape[1]))), name)

    def test_transformers(self):
        for source, name, words in SOURCES + (("siglip/hf_siglip", "golden_siglip", ()),):
            with self.subTest(source):
                siglip = name == "golden_siglip"
                self.convert(GOLDEN / source, "x.nemo", *words)
                self.convert("x.nemo", "out", "--to", "hf", "--dtype", "fp32")
                kind = transformers.SiglipModel if siglip else transformers.CLIPModel
                model, said = kind.from_pretrained(self.path("out"), output_loading_info=True)
                self.assertFalse(said["missing_keys"] or said["unexpected_keys"] or said["mismatched_keys"], said)
                self.assertAnswers(model.eval().get_image_features, model.get_text_features, name)


if __name__ == "__main__":
    print("open_clip", open_clip.__version__, "transformers", transformers.__version__, "torch", torch.__version__)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
