"""Models that anemone converted for Megatron, computed by Megatron-core beside transformers: the same logits.

usage: logits_test.py ANEMONE
transformers makes small models of random weights. Of Megatron-LM's folder, Megatron-core builds the model that `args` say; of Megatron-Bridge's
Gemma, the model that run_config.yaml says, with the class's scaled embeddings as Megatron-Bridge has them (gemma_provider.py). Limits: a CPU,
fp32, local layers. Gemma 2 and 3 have norms that only Transformer Engine's layers hold.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import unittest
import warnings

import torch
import transformers
import yaml
from core_model import CpuForCuda, answer_as_a_cpu, arguments, build, latent_model, start
from transformers.generation import GenerationMixin  # noqa: F401  (as the machine is, before it answers as a GPU)

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
ANEMONE = os.path.abspath(sys.argv[1])
SIZES = dict(vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=64,
             rms_norm_eps=1e-6)
DEEPSEEK = dict(num_key_value_heads=4, moe_intermediate_size=16, n_shared_experts=2, n_routed_experts=4, num_experts_per_tok=2,
                first_k_dense_replace=1, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, beta_fast=32, beta_slow=1, mscale=1.0,
            mscale_all_dim=1.0)
CASES = {  # latent_model replaces the attention of all models that come after it
    "gemma": ("Gemma", dict(num_key_value_heads=2, head_dim=8)),
    "v3": ("DeepseekV3", dict(**DEEPSEEK, q_lora_rank=12, routed_scaling_factor=2.5, n_group=2, topk_group=1, rope_parameters=YARN)),
    "v3-plain": ("DeepseekV3", dict(**DEEPSEEK, q_lora_rank=None, routed_scaling_factor=1.0, n_group=1, topk_group=1)),
    "v2": ("DeepseekV2", dict(**DEEPSEEK, q_lora_rank=None, routed_scaling_factor=1.0, topk_method="greedy")),
}


def make(name, folder):
    kind, own = CASES[name]
    torch.manual_seed(5)
    model = getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**SIZES, **own)).float().eval()
    for parameter in list(model.parameters()) + [b for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")]:
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 and kind != "Gemma" else 0.0, 0.2)
    model.save_pretrained(folder)
    return model


def arguments_of_bridge(folder):
    """Megatron-LM's names for what the run_config.yaml of a Gemma says."""
    with open(os.path.join(folder, "run_config.yaml")) as file:
        model = yaml.safe_load(file)["model"]
    assert model["_target_"] == "megatron.bridge.models.gemma.gemma_provider.GemmaModelProvider"
    assert model["activation_func"]["_target_"] == "megatron.core.activations.fast_gelu"
    args = {key: value for key, value in model.items() if not isinstance(value, dict)}
    args.update(swiglu=False, bias_gelu_fusion=False, params_dtype=torch.float32, padded_vocab_size=model["vocab_size"], num_experts=None,
                max_position_embeddings=model["seq_length"], multi_latent_attention=False,
                untie_embeddings_and_output_weights=not model["share_embeddings_and_output_weights"])
    return argparse.Namespace(**args)


def model_of(folder, name):
    if name != "gemma":
        args = arguments(folder)
        args.moe_token_dispatcher_type = "allgather"  # the other ones ask for a GPU
        return latent_model(args, 1)
    from megatron.core.activations import fast_gelu
    args = arguments_of_bridge(folder)
    # torch's RMSNorm has no weights that count from 1: they are added below.
    model = build(args, 1, gated_linear_unit=True, activation_func=fast_gelu, layernorm_zero_centered_gamma=False)
    embed = model.embedding.forward
    model.embedding.forward = lambda **given: embed(**given) * args.hidden_size**0.5
    return model


def stored_name(key):
    """The keys of Transformer Engine's layers, whose norms are in the linear layers behind them."""
    for module, norm in (("q_layernorm", "linear_q_up_proj"), ("kv_layernorm", "linear_kv_up_proj")):
        key = key.replace(f"self_attention.{module}.", f"self_attention.{norm}.layer_norm_")
    return key


def load(model, folder, is_latent):
    from megatron.core import dist_checkpointing
    for parameter in model.parameters():
        parameter.data.fill_(7)
    wanted = model.sharded_state_dict()
    for name, tensor in list(wanted.items()):
        if not hasattr(tensor, "key"):
            continue
        if name.endswith("_extra_state"):
            del wanted[name]
        elif is_latent:
            tensor.key = stored_name(tensor.key)
            dense = ".pre_mlp_layernorm." in name and name.replace(".pre_mlp_layernorm.weight", ".mlp.router.weight") not in wanted
            if dense:
                tensor.key = tensor.key.replace(".pre_mlp_layernorm.", ".mlp.linear_fc1.layer_norm_")
    model.load_state_dict(dist_checkpointing.load(wanted, folder), strict=False)


class Logits(unittest.TestCase):
    def test_are_those_of_transformers(self):
        with tempfile.TemporaryDirectory() as out, CpuForCuda():
            start(0, 1, out)
            for name in CASES:
                with self.subTest(name):
                    self.check(name, os.path.join(out, name))
            torch.distributed.destroy_process_group()

    def check(self, name, out):
        os.mkdir(out)
        reference = make(name, os.path.join(out, "hf"))
        made = os.path.join(out, "made")
        subprocess.run([ANEMONE, "-q", "convert", os.path.join(out, "hf"), made, "--to", "megatron-bridge" if name == "gemma" else "megatron"],
                       check=True)
        folder = next(entry.path for entry in os.scandir(made) if entry.is_dir())
        model = model_of(folder, name).eval()
        load(model, folder, name != "gemma")
        for key, parameter in model.named_parameters():
            if name == "gemma" and "layernorm" in key:
                parameter.data += 1
        tokens = torch.arange(2 * 24).reshape(2, 24) * 7 % SIZES["vocab_size"]
        places = torch.arange(24).expand(2, 24)
        hidden = torch.triu(torch.ones(1, 1, 24, 24), 1) > 0
        with torch.no_grad():
            want = reference(tokens).logits
            got = model(tokens, places, hidden)[..., :SIZES["vocab_size"]]
        self.assertGreater(want.std().item(), 0.1)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


if __name__ == "__main__":
    answer_as_a_cpu()
    unittest.main(argv=sys.argv[:1], verbosity=2)
