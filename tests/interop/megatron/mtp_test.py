"""Layers that predict several tokens: what anemone writes is loaded by Megatron-core, and computed by the layers of transformers.

usage: mtp_test.py ANEMONE GOLDEN_DIR
As load_test.py. transformers' class leaves these layers out; here they are put together from its modules, as DeepSeek-V3's report has them.
"""

import os
import sys
import tempfile
import unittest
import warnings

import torch
from core_model import CpuForCuda, arguments, convert, latent_model, mtp_logits, start
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
DEEPSEEK = os.path.join(GOLDEN, "mtp", "deepseek")
# What Transformer Engine's modules call the norms that the local layers have apart.
FUSED = {"self_attention.q_layernorm.weight": "self_attention.linear_q_up_proj.layer_norm_weight",
         "self_attention.kv_layernorm.weight": "self_attention.linear_kv_up_proj.layer_norm_weight",
         "layers.0.pre_mlp_layernorm.weight": "layers.0.mlp.linear_fc1.layer_norm_weight"}  # the layer without experts


def fused(key):
    for local, fused_name in FUSED.items():
        if key.startswith("decoder.") or not local.startswith("layers."):
            key = key.replace(local, fused_name)
    return key


class Mtp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.dir = folder.name
        cls.hf = cls.convert(os.path.join(DEEPSEEK, "ckpt"), "hf", "--to", "hf")
        cls.want = load_file(os.path.join(DEEPSEEK, "logits.safetensors"))

    @classmethod
    def convert(cls, source, name, *options):
        return convert(ANEMONE, source, os.path.join(cls.dir, name), *options)

    def test_megatron_core_loads_and_computes_the_same(self):
        folder = next(entry.path for entry in os.scandir(self.convert(self.hf, "lm", "--to", "megatron")) if entry.is_dir())
        start(0, 1, self.dir)
        from megatron.core import dist_checkpointing
        args = arguments(folder)
        self.assertEqual((args.mtp_num_layers, args.num_layers), (2, 4))
        args.moe_token_dispatcher_type = "allgather"  # the other ones ask for a GPU
        with CpuForCuda():
            model = latent_model(args, 1)
            for parameter in model.parameters():
                parameter.data.fill_(7)
            asked = model.sharded_state_dict()
            for tensor in asked.values():
                tensor.key = fused(tensor.key)
            model.load_state_dict({name: tensor for name, tensor in dist_checkpointing.load({"model": asked}, folder)["model"].items()})
            for depth, logits in enumerate(mtp_logits(model, self.want["input_ids"])):
                self.assertTrue(torch.equal(logits, self.want[f"logits.{depth}"]), depth)
        torch.distributed.destroy_process_group()

    def test_transformers_layers_compute_the_same(self):
        from transformers import AutoModelForCausalLM
        from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3DecoderLayer
        model = AutoModelForCausalLM.from_pretrained(self.hf, dtype=torch.float32, attn_implementation="eager").eval()
        config, weights = model.config, load_file(os.path.join(self.hf, "model.safetensors"))
        tokens = self.want["input_ids"]
        size = tokens.shape[1]
        later = torch.full((size, size), float("-inf")).triu(1)[None, None]
        with torch.no_grad():
            hidden = model.model(tokens).last_hidden_state
            self.close(model.lm_head(hidden), 0)
            for depth in range(config.num_nextn_predict_layers):
                top = f"model.layers.{config.num_hidden_layers + depth}."
                own = {name[len(top):]: tensor for name, tensor in weights.items() if name.startswith(top)}
                layer = DeepseekV3DecoderLayer(config, config.num_hidden_layers + depth).eval()
                layer.load_state_dict(in_one(own, config.n_routed_experts))
                tokens = torch.nn.functional.pad(tokens[:, 1:], (0, 1))
                parts = (norm(model.model.embed_tokens(tokens), own["enorm.weight"]), norm(hidden, own["hnorm.weight"]))
                hidden = torch.cat(parts, -1) @ own["eh_proj.weight"].T
                positions = model.model.rotary_emb(hidden, torch.arange(size)[None])
                hidden = norm(layer(hidden, attention_mask=later, position_embeddings=positions), own["shared_head.norm.weight"])
                self.close(hidden @ own["shared_head.head.weight"].T, depth + 1)

    def close(self, logits, depth):
        want = self.want[f"logits.{depth}"]
        self.assertLess((logits - want).abs().max().item(), 1e-5 * want.abs().max().item(), depth)


def norm(hidden, weight):
    return torch.nn.functional.rms_norm(hidden, weight.shape, weight, 1e-6)


def in_one(own, experts):
    """The experts' matrices as transformers 5 has them, and the layer's other tensors."""
    layer = {name: tensor for name, tensor in own.items()
             if name.startswith(("self_attn.", "mlp.", "input_", "post_")) and ".experts." not in name}
    of = lambda part: [own[f"mlp.experts.{expert}.{part}_proj.weight"] for expert in range(experts)]  # noqa: E731
    layer["mlp.experts.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(of("gate"), of("up"))])
    layer["mlp.experts.down_proj"] = torch.stack(of("down"))
    return layer


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
