"""Positions that YaRN scales: what anemone writes for Megatron-Bridge, computed by Megatron-core, beside transformers.

usage: yarn_test.py ANEMONE GOLDEN_DIR
As load_test.py. Megatron-core reads how YaRN scales from fields that TransformerConfig does not have: Megatron-Bridge's provider has them, so here
a config of the fields that run_config.yaml names has them, too. Without them, as in Megatron-LM's own, the model is not built.
"""

import contextlib
import dataclasses
import inspect
import os
import sys
import tempfile
import types
import unittest
import warnings

import torch
import yaml
from core_model import CpuForCuda, convert, start

warnings.filterwarnings("ignore")
ANEMONE = os.path.abspath(sys.argv[1])
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64,
         "max_position_embeddings": 256, "tie_word_embeddings": False}
SCALINGS = {
    "plain": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "bounds": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
    "attention": {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 64, "mscale": 0.7, "mscale_all_dim": 0.3},
    "one": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 0.7},
}
CLASSES = {"llama": {}, "qwen2": {}, "qwen3": {"head_dim": 8}, "mistral": {"sliding_window": None, "head_dim": 8}}


def hf_model(kind, scaling, folder):
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **SIZES, **CLASSES[kind], rope_parameters={**scaling, "rope_theta": 10000.0})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3 + (1 if "norm" in name else 0))
    model.save_pretrained(folder)
    return model


def core_model(said):
    """By the fields that run_config.yaml names, as Megatron-Bridge's provider has them."""
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer.transformer_config import TransformerConfig
    yarn = [(name, object, None) for name in said if name.startswith("yarn_")]
    kind = dataclasses.make_dataclass("Config", yarn, bases=(TransformerConfig,))
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {name: value for name, value in said.items() if name in fields and not isinstance(value, dict)}
    given.update(activation_func=torch.nn.functional.silu, use_cpu_initialization=True, masked_softmax_fusion=False, bias_activation_fusion=False,
                 gradient_accumulation_fusion=False, persist_layer_norm=False, apply_rope_fusion=False)
    spec = get_gpt_layer_local_spec(normalization="RMSNorm", qk_layernorm=bool(said.get("qk_layernorm")))
    return GPTModel(kind(**given), spec, said["vocab_size"], said["seq_length"], position_embedding_type=said["position_embedding_type"],
                    rotary_base=said["rotary_base"], share_embeddings_and_output_weights=said["share_embeddings_and_output_weights"]).eval()


def scales_by_yarn():
    """Whether this Megatron-core's GPT has such positions: older ones take the word and have none at all."""
    from megatron.core.models.gpt.gpt_model import GPTModel
    return "yarn" in inspect.getsource(GPTModel.__init__)


class Yarn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not scales_by_yarn():
            raise unittest.SkipTest("this Megatron-core scales no positions of a GPT by YaRN")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.dir = folder.name
        torch.cuda.synchronize, torch.cuda.current_device = lambda *_: None, lambda: "cpu"
        start(0, 1, cls.dir)
        from megatron.core import tensor_parallel
        tensor_parallel.get_cuda_rng_tracker = lambda: types.SimpleNamespace(fork=contextlib.nullcontext)
        cls.addClassCleanup(torch.distributed.destroy_process_group)

    def convert(self, source, name, *options):
        return convert(ANEMONE, source, os.path.join(self.dir, name), *options)

    def test_megatron_core_computes_the_same(self):
        from megatron.core import dist_checkpointing
        ids = torch.randint(0, SIZES["vocab_size"], (2, 200))
        for kind in CLASSES:
            for title, scaling in SCALINGS.items():
                with self.subTest(kind, scaling=title), CpuForCuda(), torch.no_grad():
                    hf = os.path.join(self.dir, f"{kind}-{title}")
                    want = hf_model(kind, scaling, hf)(ids).logits
                    bridge = self.convert(hf, f"{kind}-{title}-bridge", "--to", "megatron-bridge")
                    folder = next(entry.path for entry in os.scandir(bridge) if entry.is_dir())
                    with open(os.path.join(folder, "run_config.yaml")) as file:
                        said = yaml.safe_load(file)["model"]
                    self.assertEqual(said["position_embedding_type"], "yarn")
                    model = core_model(said)
                    model.load_state_dict(dist_checkpointing.load({"model": model.sharded_state_dict()}, folder)["model"])
                    logits = model(ids, torch.arange(ids.shape[1]).expand(ids.shape), torch.ones(1, 1, 200, 200, dtype=torch.bool).triu(1))
                    self.assertLess((logits - want).abs().max().item(), 2e-5 * want.abs().max().item())
                    back = self.convert(bridge, f"{kind}-{title}-back", "--to", "hf")
                    self.assertEqual(self.said_by(back), {**scaling, "rope_theta": 10000.0})
                    os.remove(os.path.join(folder, "config.json"))  # so that a new one is made
                    anew = self.convert(bridge, f"{kind}-{title}-anew", "--to", "hf")
                    self.assertEqual(self.said_by(anew), {**said_defaults(scaling), "rope_theta": 10000.0})

    @staticmethod
    def said_by(folder):
        """How transformers understands the folder's positions."""
        from transformers import AutoConfig
        parameters = dict(AutoConfig.from_pretrained(folder).rope_parameters)
        return {name: value for name, value in parameters.items() if value is not None}

    def test_megatron_lm_has_no_field_for_the_factor(self):
        said = {"num_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 32, "seq_length": 64, "rotary_base": 10000,
                "position_embedding_type": "yarn", "share_embeddings_and_output_weights": True, "normalization": "RMSNorm"}
        with CpuForCuda(), self.assertRaisesRegex(AttributeError, "yarn_rotary_scaling_factor"):
            core_model(said)


def said_defaults(scaling):
    """With what is taken where nothing is said; one of the two scales of attention alone says nothing."""
    said = {"beta_fast": 32, "beta_slow": 1, **scaling}
    if "mscale_all_dim" not in said:
        said.pop("mscale", None)
    return said


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
