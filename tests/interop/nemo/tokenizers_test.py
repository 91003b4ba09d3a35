"""The tokenizer of a folder that anemone made from a .nemo, read by transformers, is the SentencePiece model that NeMo stored.

usage: tokenizers_test.py ANEMONE GOLDEN_DIR
Not part of the ordinary tests, whose machine has no transformers: -DANEMONE_TRANSFORMERS_PYTHON=PYTHON adds it.
"""

import os
import subprocess
import sys
import tempfile
import unittest

import sentencepiece
from transformers import AutoTokenizer

ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
# Without runs of spaces: these models were trained to drop them, which transformers does not look at.
SENTENCES = ["Hello world", "ünïcödé 漢字 🙂 naïve", "def f(x): return x**2", "checkpoint tensors are moved, 1234567 bytes."]
# Whether texts begin with the begin token, as the published models of the architecture do. Gemma's class puts no space
# before a text, which its published model does not either, and the golden files' does.
MODELS = {"llama": True, "mistral": True, "mixtral": True, "nemotron": False}


class Tokenizers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def check(self, folder, begins):
        model = sentencepiece.SentencePieceProcessor(os.path.join(folder, "tokenizer.model"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.assertEqual((tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id),
                         (model.bos_id(), model.eos_id(), model.unk_id()))
        for text in SENTENCES:
            ids = tokenizer.encode(text, add_special_tokens=False)
            self.assertEqual(ids, model.encode(text), text)
            self.assertEqual(tokenizer.decode(ids), text)
            self.assertEqual(tokenizer.encode(text), [model.bos_id()] * begins + ids, text)

    def convert(self, source, out, *words):
        out = os.path.join(self.dir, out)
        subprocess.run([ANEMONE, "convert", source, out, *words], check=True, capture_output=True)
        return out

    def test_of_nemo_1(self):
        for name, begins in MODELS.items():
            with self.subTest(name):
                self.check(self.convert(f"{GOLDEN}/families/{name}.nemo", name, "--to", "hf"), begins)

    def test_by_way_of_nemo_2(self):
        first = self.convert(f"{GOLDEN}/families/llama.nemo", "first", "--to", "hf")
        self.check(self.convert(self.convert(first, "nemo2", "--to", "nemo2"), "second", "--to", "hf"), True)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
