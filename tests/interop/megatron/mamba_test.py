"""NeMo 2's MambaModel that anemone converted, computed by Megatron-core beside transformers: the same logits, both ways.

usage: mamba_test.py ANEMONE
transformers makes small models of random weights. Megatron-core builds the model that context/model.yaml says, as ssm.py of NeMo 2 does, loads
weights/ and saves them again. Limits: a CPU, fp32. The kernels of mamba_ssm are a loop over tokens, and Transformer Engine's linear layers, which
have the norm before them, are Megatron-core's own with that norm.
"""

import dataclasses
import os
import shutil
import sys
import tempfile
import types
import unittest
import warnings

import torch
import transformers
import yaml
from core_model import CpuForCuda, RmsNorm, answer_as_a_cpu, convert, start
from safetensors.torch import load_file
from transformers.generation import GenerationMixin  # noqa: F401  (as the machine is, before it answers as a GPU)

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
ANEMONE = os.path.abspath(sys.argv[1])
HYBRID = dict(vocab_size=96, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=48, ssm_state_size=8,
              mamba_num_heads=6, mamba_head_dim=4, n_groups=2, max_position_embeddings=64, time_step_min=0.0)
PURE = dict(vocab_size=96, hidden_size=32, num_hidden_layers=3, state_size=8, num_heads=8, head_dim=8, n_groups=1)
NANO = ["linear_attention", "mlp", "linear_attention", "full_attention", "mlp"]
CASES = {
    "hybrid": ("NemotronH", dict(HYBRID, layers_block_type=NANO)),
    "gelu": ("NemotronH", dict(HYBRID, layers_block_type=NANO[:2], mlp_hidden_act="gelu")),
    "default-heads": ("NemotronH", dict(HYBRID, layers_block_type=NANO[2:], mamba_num_heads=16, n_groups=4)),
    "mamba2": ("Mamba2", PURE),
    "mamba2-tied": ("Mamba2", dict(PURE, tie_word_embeddings=True)),
    "mamba2-groups": ("Mamba2", dict(PURE, n_groups=2)),
}


class GatedNorm(torch.nn.Module):
    def __init__(self, hidden_size, eps, group_size, norm_before_gate, device, dtype):
        super().__init__()
        assert not norm_before_gate
        self.weight, self.eps, self.group_size = torch.nn.Parameter(torch.ones(hidden_size)), eps, group_size

    def forward(self, hidden, gate):
        groups = (hidden * torch.nn.functional.silu(gate)).unflatten(-1, (-1, self.group_size))
        return self.weight * (groups * torch.rsqrt(groups.pow(2).mean(-1, keepdim=True) + self.eps)).flatten(-2)


def scan(x, dt, a, b, c, chunk_size, D, z, dt_bias, dt_softplus, return_final_states):
    assert z is None and dt_softplus and not return_final_states
    dt = torch.nn.functional.softplus(dt + dt_bias)
    heads = x.shape[2] // b.shape[2]
    b, c = (part.repeat_interleave(heads, dim=2) for part in (b, c))
    state, outputs = torch.zeros(*x.shape[:1], *x.shape[2:], b.shape[-1]), []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * a)[..., None, None]
        state = state * decay + (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, :, None, :]
        outputs.append((state * c[:, t, :, None, :]).sum(-1) + D[:, None] * x[:, t])
    return torch.stack(outputs, 1)


def stand_in_for_mamba_ssm():
    modules = {"selective_state_update": {"selective_state_update": None}, "layernorm_gated": {"RMSNorm": GatedNorm},
               "ssd_combined": {"mamba_chunk_scan_combined": scan, "mamba_split_conv1d_scan_combined": None}}
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton"):
        sys.modules[name] = types.ModuleType(name)
    for name, content in modules.items():
        sys.modules[f"mamba_ssm.ops.triton.{name}"] = module = types.ModuleType(name)
        vars(module).update(content)


def layers_with_norms():
    from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
    from megatron.core.ssm.mamba_block import MambaStack, MambaStackSubmodules
    from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
    from megatron.core.ssm.mamba_mixer import MambaMixer, MambaMixerSubmodules
    from megatron.core.ssm.mlp_layer import MLPLayer
    from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
    from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
    from megatron.core.transformer.dot_product_attention import DotProductAttention
    from megatron.core.transformer.enums import AttnMaskType
    from megatron.core.transformer.mlp import MLP, MLPSubmodules
    from megatron.core.transformer.spec_utils import ModuleSpec
    from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

    class NormAndLinear(ColumnParallelLinear):
        """Transformer Engine's, by its names."""

        def __init__(self, input_size, *args, config, **kwargs):
            super().__init__(input_size, *args, config=config, **kwargs)
            self.layer_norm_weight, self.eps = torch.nn.Parameter(torch.ones(input_size)), config.layernorm_epsilon

        def forward(self, hidden, *args, **kwargs):
            return super().forward(torch.nn.functional.rms_norm(hidden, hidden.shape[-1:], self.layer_norm_weight, self.eps), *args, **kwargs)

        def sharded_state_dict(self, prefix="", sharded_offsets=(), metadata=None):
            from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
            state = self.state_dict(prefix="", keep_vars=True)
            return make_sharded_tensors_for_checkpoint(state, prefix, {"weight": 0}, sharded_offsets)

    attention = SelfAttentionSubmodules(linear_qkv=NormAndLinear, core_attention=DotProductAttention, linear_proj=RowParallelLinear)
    return ModuleSpec(module=MambaStack, submodules=MambaStackSubmodules(
        mamba_layer=ModuleSpec(module=MambaLayer, submodules=MambaLayerSubmodules(
            mixer=ModuleSpec(module=MambaMixer, submodules=MambaMixerSubmodules(in_proj=NormAndLinear, out_proj=RowParallelLinear)),
            mamba_bda=get_bias_dropout_add)),
        attention_layer=ModuleSpec(module=TransformerLayer, submodules=TransformerLayerSubmodules(
            self_attention=ModuleSpec(module=SelfAttention, params={"attn_mask_type": AttnMaskType.causal}, submodules=attention),
            self_attn_bda=get_bias_dropout_add)),
        mlp_layer=ModuleSpec(module=MLPLayer, submodules=TransformerLayerSubmodules(
            mlp=ModuleSpec(module=MLP, submodules=MLPSubmodules(linear_fc1=NormAndLinear, linear_fc2=RowParallelLinear)),
            mlp_bda=get_bias_dropout_add))))


def squared_relu(x):
    return torch.nn.functional.relu(x).pow(2)


def core_model(said, rows):
    """As SSMConfig.configure_model() builds it."""
    from megatron.core.models.mamba.mamba_model import MambaModel
    from megatron.core.ssm import mamba_block
    from megatron.core.transformer.transformer_config import TransformerConfig
    assert said["_target_"] == "nemo.collections.llm.gpt.model.ssm.SSMConfig"
    mamba_block.TENorm = lambda config, hidden_size, eps: RmsNorm(config, hidden_size, eps)
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    given = {name: value for name, value in said.items() if name in fields and not isinstance(value, dict)}
    activations = {"nemo.collections.llm.fn.activation.squared_relu": squared_relu, "torch.nn.functional.gelu": torch.nn.functional.gelu}
    given.update(activation_func=activations[said["activation_func"]["_target_"]], use_cpu_initialization=True, use_mamba_mem_eff_path=False,
                 gradient_accumulation_fusion=False, masked_softmax_fusion=False, persist_layer_norm=False)
    return MambaModel(TransformerConfig(**given), layers_with_norms(), rows, said["seq_length"],
                      hybrid_override_pattern=said["hybrid_override_pattern"], position_embedding_type=said["position_embedding_type"],
                      share_embeddings_and_output_weights=said["share_embeddings_and_output_weights"]).eval()


def state_of(model):
    """Under the keys of NeMo 2, whose model is a module of another."""
    state = {name: value for name, value in model.sharded_state_dict().items() if not name.endswith("_extra_state")}
    for value in state.values():
        value.key = "module." + value.key
    return state


def make(kind, own, out):
    """Tokens, and the logits of a model that is saved in `out`."""
    torch.manual_seed(7)
    config = getattr(transformers, kind + "Config")(**dict(own, time_step_min=0.001))  # as the first weights are drawn
    model = getattr(transformers, kind + "ForCausalLM")(config).float()
    model.config.time_step_min = own.get("time_step_min", 0.001)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread, middle = (2, 0) if name.endswith(("A_log", "dt_bias")) else (0.3, 1 if "norm" in name or name.endswith(".D") else 0)
            parameter.copy_(torch.randn(parameter.shape) * spread + middle)
    model.save_pretrained(os.path.join(out, "hf"))
    ids = torch.randint(0, own["vocab_size"], (2, 40))
    with torch.no_grad():
        return ids, type(model).from_pretrained(os.path.join(out, "hf")).eval()(ids, use_cache=False).logits


def compute(rank, ranks, out, names):
    """One of `ranks` tensor ranks: the logits of what anemone wrote for so many, and what Megatron-core saves of it."""
    from megatron.core import dist_checkpointing
    stand_in_for_mamba_ssm()
    with CpuForCuda():
        answer_as_a_cpu()
        start(rank, ranks, out)
        for name in names:
            folder = os.path.join(out, name)
            nemo, saved = (os.path.join(folder, f"{what}{ranks}") for what in ("nemo", "saved"))
            with open(os.path.join(nemo, "context", "model.yaml")) as file:
                said = yaml.safe_load(file)["config"]
            ids, expected = torch.load(os.path.join(folder, "expected.pt"))
            model = core_model(said, expected.shape[-1])
            for parameter in model.parameters():
                parameter.data.fill_(7)
            model.load_state_dict(dist_checkpointing.load(state_of(model), os.path.join(nemo, "weights")), strict=False)
            positions = torch.arange(ids.shape[1]).expand(ids.shape)
            later = torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
            with torch.no_grad():
                logits = model(ids, positions, later)
            parts = [torch.empty_like(logits) for _ in range(ranks)]
            torch.distributed.all_gather(parts, logits.contiguous())
            torch.testing.assert_close(torch.cat(parts, -1), expected, rtol=1e-4, atol=1e-4)
            if rank == 0:
                os.makedirs(os.path.join(saved, "weights"))
                shutil.copytree(os.path.join(nemo, "context"), os.path.join(saved, "context"))
            torch.distributed.barrier()
            dist_checkpointing.save(state_of(model), os.path.join(saved, "weights"))
        torch.distributed.destroy_process_group()


class Mamba(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        for name, (kind, own) in CASES.items():
            out = os.path.join(cls.folder.name, name)
            os.mkdir(out)
            torch.save(make(kind, own, out), os.path.join(out, "expected.pt"))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def check(self, ranks, names):
        out = self.folder.name
        for name in names:
            convert(ANEMONE, os.path.join(out, name, "hf"), os.path.join(out, name, f"nemo{ranks}"), "--to", "nemo2", "--tp", str(ranks))
        torch.multiprocessing.spawn(compute, (ranks, out, names), nprocs=ranks)
        for name in names:
            with self.subTest(name):
                back = convert(ANEMONE, os.path.join(out, name, f"saved{ranks}"), os.path.join(out, name, f"back{ranks}"), "--to", "hf")
                ours, theirs = (load_file(os.path.join(folder, "model.safetensors")) for folder in (back, os.path.join(out, name, "hf")))
                self.assertEqual(sorted(ours), sorted(theirs))
                for key, tensor in theirs.items():
                    self.assertTrue(torch.equal(ours[key], tensor), key)

    def test_one_rank_computes_what_transformers_does(self):
        self.check(1, list(CASES))

    def test_two_ranks_do(self):
        self.check(2, ["hybrid", "default-heads"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
