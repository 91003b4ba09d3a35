"""What anemone writes for Megatron-LM and Megatron-Bridge, loaded by Megatron-core into a model that it built by what the folder says.

usage: load_test.py ANEMONE GOLDEN_DIR
Not part of the ordinary tests, whose machine has no Megatron-core: -DANEMONE_MEGATRON_PYTHON=PYTHON adds it (pip install megatron-core
torch einops transformers). On a CPU: the local layers, torch's optimizer, gloo.
"""

import os
import subprocess
import sys
import tempfile
import unittest
import warnings

import torch
import torch.multiprocessing as multiprocessing
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
ITEMS = ("mlm19-dist-tp1-llama", "mlm09-dist-tp2-llama-te", "mlm09-torch-ep2-moe-grouped", "mlm09-torch-tp2pp2-legacy-gpt2",
         "mb031-provider-llama")
# A field of TransformerConfig, where it is not called as the argument [megatron/training/arguments.py,
# core_transformer_config_from_args].
FIELDS = {"num_moe_experts": "num_experts"}


def transformer_config(args, ranks):
    import dataclasses

    from megatron.core.transformer.transformer_config import TransformerConfig
    given = {}
    for field in dataclasses.fields(TransformerConfig):
        name = FIELDS.get(field.name, field.name)
        if getattr(args, name, None) is not None and field.name != "transformer_impl":
            given[field.name] = getattr(args, name)
    swiglu = args.swiglu
    given.update(num_query_groups=args.num_query_groups, gated_linear_unit=swiglu, use_cpu_initialization=True,
                 activation_func=torch.nn.functional.silu if swiglu else torch.nn.functional.gelu, tensor_model_parallel_size=ranks,
                 bias_activation_fusion=not swiglu and args.bias_gelu_fusion, gradient_accumulation_fusion=False, masked_softmax_fusion=False,
                 pipeline_dtype=args.params_dtype, persist_layer_norm=False, expert_tensor_parallel_size=ranks)
    return TransformerConfig(**given)


def build(args, ranks):
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    spec = get_gpt_layer_local_spec(num_experts=args.num_experts, qk_layernorm=bool(args.qk_layernorm), normalization=args.normalization)
    return GPTModel(transformer_config(args, ranks), spec, args.padded_vocab_size, args.max_position_embeddings,
                    share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights,
                    position_embedding_type=args.position_embedding_type, rotary_base=args.rotary_base or 10000,
                    rotary_percent=args.rotary_percent).to(args.params_dtype)


def arguments(folder):
    from megatron.core import dist_checkpointing
    return dist_checkpointing.load_common_state_dict(folder)["args"]


def load(rank, ranks, cases, out):
    """Loads the models on a rank as Megatron does: every key that it asks for must be there."""
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE=str(ranks))
    store = torch.distributed.FileStore(os.path.join(out, f"store-{ranks}"), ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    from megatron.core import dist_checkpointing, parallel_state
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=ranks, expert_tensor_parallel_size=ranks)
    for title, folder, told_by in cases:
        model = build(arguments(told_by), ranks)
        for parameter in model.parameters():
            parameter.data.fill_(7)
        loaded = dist_checkpointing.load(model.sharded_state_dict(), folder)
        tensors = {name: tensor for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}
        torch.save(tensors, os.path.join(out, f"{title}-{rank}-{ranks}.pt"))
    torch.distributed.destroy_process_group()


class Load(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.dir = folder.name
        cls.cases, cls.plain = [], {}
        for item in ITEMS:
            hf = cls.convert(os.path.join(GOLDEN, "megatron", item, "ckpt"), item + "-hf", "--to", "hf")
            local = ("--set", "transformer_engine=false")  # whose norms beside experts have other names
            lm = cls.iteration(cls.convert(hf, item + "-lm", "--to", "megatron", "--tp", "2", *local))
            cls.cases.append((item + "-lm", lm, lm))
            if "moe" not in item:
                bridge = cls.iteration(cls.convert(hf, item + "-bridge", "--to", "megatron-bridge"))
                cls.cases.append((item + "-bridge", bridge, lm))
            cls.plain[item] = load_file(cls.convert(lm, item + ".safetensors"))

    @classmethod
    def convert(cls, source, name, *options):
        out = os.path.join(cls.dir, name)
        subprocess.run([ANEMONE, "convert", source, out, *options], check=True, capture_output=True, text=True)
        return out

    @staticmethod
    def iteration(folder):
        return next(entry.path for entry in os.scandir(folder) if entry.is_dir())

    def test_on_one_rank(self):
        self.check(1)

    def test_on_two_tensor_ranks(self):
        self.check(2)

    def check(self, ranks):
        multiprocessing.spawn(load, (ranks, self.cases, self.dir), nprocs=ranks)
        for title, _, told_by in self.cases:
            args = arguments(told_by)
            parts = [torch.load(os.path.join(self.dir, f"{title}-{rank}-{ranks}.pt")) for rank in range(ranks)]
            self.assertGreater(len(parts[0]), 10)
            for name in parts[0]:
                with self.subTest(title, name=name):
                    want = self.plain[title.rpartition("-")[0]][stored_name(name)]
                    self.assertTrue(torch.equal(joined(name, [part[name] for part in parts], want, args), want))


def stored_name(name):
    """The names of the local layers' modules, as distributed checkpoints call them."""
    return name.replace("input_layernorm.", "self_attention.linear_qkv.layer_norm_").replace("pre_mlp_layernorm.", "mlp.linear_fc1.layer_norm_")


def joined(name, parts, want, args):
    """The tensor that ranks hold together."""
    if parts[0].shape == want.shape:
        return parts[0]
    axis = next(axis for axis, size in enumerate(want.shape) if size != parts[0].shape[axis])
    if "linear_fc1" in name and args.swiglu:  # each rank has rows of the gate and of the other half
        halves = [part.chunk(2, axis) for part in parts]
        return torch.cat([half[0] for half in halves] + [half[1] for half in halves], axis)
    return torch.cat(parts, axis)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
