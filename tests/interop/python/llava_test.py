"""LLaVA beside transformers: a folder that anemone wrote loads without a missing key and gives the original's logits.

usage: llava_test.py ANEMONE
Not part of the ordinary tests, whose machine has no transformers: -DANEMONE_TRANSFORMERS_PYTHON=PYTHON adds it.
"""

import os
import subprocess
import sys
import tempfile
import unittest

import torch
import transformers as t

ANEMONE = os.path.abspath(sys.argv[1])
IMAGE = 127
IS_444 = t.__version__.startswith("4.44")
CLIP = dict(model_type="clip_vision_model", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
            image_size=28, patch_size=14, projection_dim=16)
SIGLIP = dict(model_type="siglip_vision_model", hidden_size=32, intermediate_size=64, num_hidden_layers=3,
              num_attention_heads=4, image_size=28, patch_size=14, vision_use_head=False)
PINPOINTS = [[28, 56], [56, 28], [56, 56]]


def text(model_type, **words):
    return dict(model_type=model_type, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=8,
                num_key_value_heads=4, vocab_size=128, max_position_embeddings=256, **words)


# Name, tower, language model, whether it is a LLaVA-NeXT, keys of the whole, and the formats that it goes through.
MODELS = {
    "llama": (CLIP, text("llama", rope_theta=500000.0), False, {}, ["nemo", "nemo2", "llava"]),
    "mistral": (CLIP, text("mistral", sliding_window=None), False, {}, ["nemo", "nemo2", "llava"]),
    "qwen2_full": (CLIP, text("qwen2"), False, dict(vision_feature_layer=-1, vision_feature_select_strategy="full"),
                   ["nemo", "nemo2", "llava"]),
    "nemotron": (CLIP, text("nemotron"), False, {}, ["nemo", "nemo2"]),
    "siglip": (SIGLIP, text("llama"), False, dict(vision_feature_layer=-1, vision_feature_select_strategy="full"),
               ["nemo", "llava"]),
    "next": (CLIP, text("mistral", sliding_window=None), True, dict(image_grid_pinpoints=PINPOINTS), ["nemo2", "llava"]),
}


def model_class(is_next):
    return t.LlavaNextForConditionalGeneration if is_next else t.LlavaForConditionalGeneration


def new_model(tower, language, is_next, words):
    config = (t.LlavaNextConfig if is_next else t.LlavaConfig)(vision_config=dict(tower), text_config=dict(language), **words)
    for key in ("image_token_index", "image_token_id"):
        setattr(config, key, IMAGE)
    model = model_class(is_next)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


# Of a prompt around a picture, which has as many placeholders as the model gives features; transformers 4.44 wants one.
def logits(model, is_next, tower, words):
    generator = torch.Generator().manual_seed(7)
    of_one = (tower["image_size"] // tower["patch_size"]) ** 2
    if words.get("vision_feature_select_strategy") == "full" and tower["model_type"].startswith("clip"):
        of_one += 1
    tiles, more = 1, {}
    if is_next:  # a picture of two tiles, and the whole of it: a newline behind each row of the tiles
        tiles, more, of_one = 3, {"image_sizes": torch.tensor([[28, 56]])}, 4 + 2 * (4 + 1)
    if IS_444:
        of_one = 1
    pixels = torch.rand((1, tiles, 3, 28, 28) if is_next else (1, 3, 28, 28), generator=generator)
    ids = torch.tensor([[1, 5, *[IMAGE] * of_one, 9, 11, 2]])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, **more).logits


class Llava(unittest.TestCase):
    def convert(self, *words):
        said = subprocess.run([ANEMONE, "convert", *words], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stderr)

    def test_every_way_gives_the_same_logits(self):
        torch.manual_seed(20261128)
        for name, (tower, language, is_next, words, ways) in MODELS.items():
            if language["model_type"] == "nemotron" and IS_444:
                continue  # transformers 4.44 cannot build it as a part
            model = new_model(tower, language, is_next, words)
            expected = logits(model, is_next, tower, words)
            with tempfile.TemporaryDirectory() as folder:
                source = os.path.join(folder, "source")
                model.save_pretrained(source)
                for way in ways:
                    with self.subTest(name, way=way):
                        middle, back = os.path.join(folder, way + (".nemo" if way == "nemo" else "")), os.path.join(folder, way + "_back")
                        layout = ["--to", "hf", "--dialect", "llava"] if way == "llava" else ["--to", way]
                        self.convert(source, middle, *layout)
                        self.convert(middle, back, "--to", "hf", *(["--tower", source] if way == "llava" else []))
                        again, said = model_class(is_next).from_pretrained(back, output_loading_info=True)
                        self.assertFalse(said["missing_keys"] or said["unexpected_keys"] or said["mismatched_keys"], said)
                        if way == "llava":  # the token is the tokenizer's, and there is none
                            for key in ("image_token_index", "image_token_id"):
                                setattr(again.config, key, IMAGE)
                        self.assertTrue(torch.equal(logits(again.eval(), is_next, tower, words), expected))

    # Version 5.24 took "vision_model." out of the tower's names.
    def test_a_state_dict_is_read(self):
        for name in ("llama", "siglip"):
            tower, language, is_next, words, _ = MODELS[name]
            model = new_model(tower, language, is_next, words)
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                source, nemo, back = (os.path.join(folder, part) for part in ("source", "x.nemo", "back"))
                model.config.architectures = [type(model).__name__]
                model.config.save_pretrained(source)
                torch.save(model.state_dict(), os.path.join(source, "pytorch_model.bin"))
                self.convert(source, nemo)
                self.convert(nemo, back, "--to", "hf")
                again = model_class(is_next).from_pretrained(back).state_dict()
                for key, tensor in model.state_dict().items():
                    self.assertTrue(torch.equal(again[key], tensor), key)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
