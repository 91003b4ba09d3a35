"""The Python package beside the newest transformers, torch and safetensors: what they read of ours, what we read of theirs.

usage: transformers_test.py DEMO_CLIP_DIR      with PYTHONPATH naming the package
Not part of the ordinary tests, whose machine has no transformers: -DANEMONE_TRANSFORMERS_PYTHON=PYTHON adds it.
"""

import glob
import importlib.util
import json
import os
import sys
import tempfile
import unittest

import numpy as np
import safetensors.torch
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

    def test_an_untied_bert_computes_the_same(self):
        torch.manual_seed(12)
        config = transformers.BertConfig(hidden_size=48, intermediate_size=100, num_hidden_layers=2, num_attention_heads=6, vocab_size=131,
                                         max_position_embeddings=40, tie_word_embeddings=False)
        model, ids = transformers.BertForPreTraining(config).eval(), torch.arange(18).view(2, 9) * 7 % 131
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
            hf, nemo, back = (os.path.join(folder, name) for name in ("hf", "x.nemo", "back"))
            model.save_pretrained(hf)
            anemone.convert(hf, nemo)
            anemone.convert(nemo, back, to="hf")
            loaded, said = transformers.BertForPreTraining.from_pretrained(back, output_loading_info=True)
            self.assertFalse(said["missing_keys"] or said["unexpected_keys"] or said["mismatched_keys"], said)
            for found, expected in zip(loaded.eval()(ids).to_tuple(), model(ids).to_tuple()):
                self.assertTrue(torch.equal(found, expected))

    def test_numbers_that_the_tensors_contradict(self):
        """A number of config.json by which transformers builds other tensors than are stored is refused, as transformers refuses it."""
        sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, vocab_size=40, max_position_embeddings=32)
        tower = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
        models = {
            "BertForPreTraining": transformers.BertConfig(**sizes),
            "LlamaForCausalLM": transformers.LlamaConfig(num_key_value_heads=2, head_dim=8, **sizes),
            "Qwen3MoeForCausalLM": transformers.Qwen3MoeConfig(num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2,
                                                               moe_intermediate_size=8, **sizes),
            "GPT2LMHeadModel": transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, vocab_size=40, n_positions=32, n_inner=24),
            "T5ForConditionalGeneration": transformers.T5Config(d_model=16, d_kv=8, d_ff=24, num_layers=2, num_decoder_layers=3, num_heads=4, vocab_size=40,
                                                                feed_forward_proj="gated-gelu", tie_word_embeddings=False),
            "LlavaForConditionalGeneration": transformers.LlavaConfig(vision_config=dict(tower, model_type="clip_vision_model"),
                                                                      text_config=dict(sizes, model_type="llama"), image_token_index=39),
        }
        lies = 0
        for name, config in models.items():
            with tempfile.TemporaryDirectory() as folder:
                hf = os.path.join(folder, "hf")
                getattr(transformers, name)(config).save_pretrained(hf)
                anemone.convert(hf, os.path.join(folder, "x.nemo"))
                with open(os.path.join(hf, "config.json")) as file:
                    whole = json.load(file)
                for place in (whole, whole.get("text_config"), whole.get("vision_config")):
                    for key, value in list((place or {}).items()):
                        if type(value) is not int or key.endswith("_token_id") or key.endswith("_token_index"):
                            continue
                        place[key] = value + 1
                        with open(os.path.join(hf, "config.json"), "w") as file:
                            json.dump(whole, file)
                        place[key] = value
                        if self.loads(name, hf):
                            continue
                        lies += 1
                        with self.subTest(name, key=key, value=value + 1), self.assertRaises(anemone.Error):
                            anemone.convert(hf, os.path.join(folder, "y.nemo"), force=True)
        self.assertGreater(lies, 35)

    def loads(self, name, folder):
        try:
            _, said = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
        except Exception:
            return False
        return not (said["missing_keys"] or said["unexpected_keys"] or said["mismatched_keys"])

    def test_a_t5s_activation_by_either_name(self):
        torch.manual_seed(13)
        config = transformers.T5Config(d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=4, vocab_size=128, feed_forward_proj="gated-gelu_new",
                                       tie_word_embeddings=False)
        model, ids = transformers.T5ForConditionalGeneration(config).eval(), torch.arange(18).view(2, 9)
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            hf, ckpt, back = (os.path.join(folder, name) for name in ("hf", "x.ckpt", "back"))
            model.save_pretrained(hf)
            anemone.convert(hf, ckpt)  # which has no room for config.json
            for name in ("T5ForConditionalGeneration", "MT5ForConditionalGeneration"):
                anemone.convert(ckpt, back, to="hf", architecture=name, force=True)
                self.assertEqual(transformers.AutoConfig.from_pretrained(back).feed_forward_proj, "gated-gelu")
                loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(back).eval()
                self.assertEqual(type(loaded).__name__, name)
                want, found = (m(input_ids=ids, decoder_input_ids=ids[:, :5]).logits for m in (model, loaded))
                self.assertTrue(torch.equal(found, want))

    def test_weights_in_fp8_become_what_torch_makes_of_them(self):
        # deepseek-ai/DeepSeek-V3 inference/kernel.py, weight_dequant: products in fp32, stored in bf16.
        torch.manual_seed(11)
        config = transformers.LlamaConfig(hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=4, vocab_size=64)
        model = transformers.LlamaForCausalLM(config).bfloat16()
        block, tensors, expected = (48, 32), {}, {}
        for name, tensor in model.state_dict().items():
            expected[name] = tensors[name] = tensor
            if not name.endswith("proj.weight"):
                continue
            weight = (torch.randn(tensor.shape) * 100).to(torch.float8_e4m3fn)
            scales = torch.rand([-(-size // part) for size, part in zip(tensor.shape, block)]) * 1e-3
            whole = scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:tensor.shape[0], :tensor.shape[1]]
            tensors[name], tensors[name + "_scale_inv"] = weight, scales
            expected[name] = (weight.float() * whole).bfloat16()
        with tempfile.TemporaryDirectory() as folder:
            hf, nemo, back = (os.path.join(folder, name) for name in ("hf", "x.nemo", "back"))
            config.quantization_config = {"quant_method": "fp8", "weight_block_size": list(block), "activation_scheme": "dynamic"}
            config.architectures, config.dtype = ["LlamaForCausalLM"], "bfloat16"
            config.save_pretrained(hf)
            safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()},
                                        os.path.join(hf, "model.safetensors"), {"format": "pt"})
            with self.assertRaisesRegex(anemone.Error, "weight_scale_inv: expected weights as they are") as said:
                anemone.convert(hf, nemo)
            self.assertIn("dequantize=True", said.exception.hint)
            anemone.convert(hf, nemo, dequantize=True)
            anemone.convert(nemo, back, to="hf")
            loaded, said = transformers.LlamaForCausalLM.from_pretrained(back, output_loading_info=True)
        self.assertFalse(said["missing_keys"] or said["unexpected_keys"] or said["mismatched_keys"], said)
        self.assertEqual(loaded.dtype, torch.bfloat16)
        for name, tensor in loaded.state_dict().items():
            self.assertTrue(torch.equal(tensor, expected[name]), name)

    @unittest.skipUnless(importlib.util.find_spec("peft"), "no peft")
    def test_a_lora_of_parameters_is_refused_by_its_key(self):
        import peft
        config = transformers.Qwen3MoeConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
                                             num_key_value_heads=2, vocab_size=32, head_dim=8, num_experts=4, moe_intermediate_size=8)
        with tempfile.TemporaryDirectory() as folder:
            base, adapter, merged = (os.path.join(folder, name) for name in ("base", "adapter", "merged"))
            model = transformers.AutoModelForCausalLM.from_config(config)
            model.save_pretrained(base)
            adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM",
                                                                 target_parameters=["mlp.experts.down_proj"]))
            adapted.save_pretrained(adapter)
            with self.assertRaisesRegex(anemone.Error, r"target_parameters: expected \[\], found \[mlp.experts.down_proj\]") as said:
                anemone.convert(base, os.path.join(folder, "x.nemo"), lora=[adapter])
            self.assertIn("merge_and_unload", said.exception.hint)
            adapted.merge_and_unload().save_pretrained(merged)  # as the message says
            anemone.convert(merged, os.path.join(folder, "x"), to="nemo2")

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
