"""The Python package beside the newest transformers, torch and safetensors: what they read of ours, what we read of theirs.

usage: transformers_test.py DEMO_CLIP_DIR      with PYTHONPATH naming the package
Not part of the ordinary tests, whose machine has no transformers: -DANEMONE_TRANSFORMERS_PYTHON=PYTHON adds it.
"""

import glob
import os
import sys
import tempfile
import unittest

import numpy as np
import safetensors
import torch
import transformers
from PIL import Image

import anemone

DEMO = os.path.abspath(sys.argv[1])
TEXTS = ["a photo of a bag", "a photo of an ankle boot", "a photo of a dress"]


class Transformers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.nemo, cls.back = os.path.join(folder.name, "x.nemo"), os.path.join(folder.name, "back")
        anemone.convert(DEMO, cls.nemo)
        anemone.convert(cls.nemo, cls.back, to="hf")
        cls.original = transformers.CLIPModel.from_pretrained(DEMO).float().eval()

    def assertSame(self, model):
        expected, found = self.original.state_dict(), model.float().state_dict()
        self.assertEqual(list(found), list(expected))
        for name, tensor in expected.items():
            self.assertTrue(torch.equal(tensor, found[name]), name)

    def test_from_pretrained_of_an_exported_folder_is_the_original(self):
        model, said = transformers.CLIPModel.from_pretrained(self.back, output_loading_info=True)
        self.assertFalse(said["missing_keys"] or said["unexpected_keys"] or said["mismatched_keys"], said)
        self.assertSame(model)
        words = [transformers.CLIPTokenizer.from_pretrained(path)(TEXTS, padding=True).input_ids for path in (DEMO, self.back)]
        self.assertEqual(*words)

    def test_a_nemo_feeds_load_state_dict(self):
        model = transformers.CLIPModel(self.original.config)
        model.load_state_dict(anemone.open(self.nemo, dialect="hf").state_dict(), strict=True)
        self.assertSame(model)

    def test_the_same_probabilities(self):
        images = sorted(glob.glob(os.path.join(DEMO, "images", "*")))
        processor = transformers.CLIPProcessor.from_pretrained(DEMO)
        inputs = processor(text=TEXTS, images=[Image.open(path).convert("RGB") for path in images], return_tensors="pt", padding=True)
        with torch.no_grad():
            expected = self.original(**inputs).logits_per_image.softmax(-1).numpy()
        model = anemone.models.MegatronCLIPModel.restore_from(DEMO)  # in the process that has torch's own libraries
        np.testing.assert_allclose(model.classify(images, TEXTS), expected, atol=2e-5)
        np.testing.assert_allclose(model.classify([Image.open(path) for path in images], TEXTS), expected, atol=2e-5)

    def test_as_safe_open(self):
        path = os.path.join(DEMO, "model.safetensors")
        with safetensors.safe_open(path, framework="pt") as theirs, anemone.open(path, framework="pt") as ours:
            self.assertEqual(sorted(theirs.keys()), sorted(ours.keys()))
            self.assertEqual(theirs.metadata() or {}, ours.metadata())
            for key in theirs.keys():
                self.assertTrue(torch.equal(theirs.get_tensor(key), ours.get_tensor(key)), key)


if __name__ == "__main__":
    print("torch", torch.__version__, "transformers", transformers.__version__, "safetensors", safetensors.__version__)
    unittest.main(argv=sys.argv[:1], verbosity=2)
