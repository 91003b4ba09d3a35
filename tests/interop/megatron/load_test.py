"""What anemone writes for Megatron-LM and Megatron-Bridge, loaded by Megatron-core into a model that it built by what the folder says.

usage: load_test.py ANEMONE GOLDEN_DIR
Not part of the ordinary tests, whose machine has no Megatron-core: -DANEMONE_MEGATRON_PYTHON=PYTHON adds it (pip install megatron-core
torch einops transformers). On a CPU: the local layers, torch's optimizer, gloo.
"""

import inspect
import os
import sys
import tempfile
import unittest
import warnings

import torch
import torch.multiprocessing as multiprocessing
from core_model import arguments, build, convert, start
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
ITEMS = ("mlm19-dist-tp1-llama", "mlm09-dist-tp2-llama-te", "mlm09-torch-ep2-moe-grouped", "mlm09-torch-tp2pp2-legacy-gpt2",
         "mb031-provider-llama")

def load(rank, ranks, cases, out):
    """Loads the models on a rank as Megatron does: every key that it asks for must be there."""
    from megatron.core import dist_checkpointing, parallel_state
    name = "expert_tensor_parallel_size"  # since core 0.10
    sizes = {name: ranks} if name in inspect.signature(parallel_state.initialize_model_parallel).parameters else {}
    start(rank, ranks, out, **sizes)
    for title, folder, told_by in cases:
        model = build(arguments(told_by), ranks, **sizes)
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
        local = ("--set", "transformer_engine=false")  # whose norms beside experts have other names
        for item in ITEMS:
            hf = cls.convert(os.path.join(GOLDEN, "megatron", item, "ckpt"), item + "-hf", "--to", "hf")
            lm = cls.iteration(cls.convert(hf, item + "-lm", "--to", "megatron", "--tp", "2", *local))
            cls.add(item + "-lm", lm, lm)
            if "moe" not in item:
                bridge = cls.iteration(cls.convert(hf, item + "-bridge", "--to", "megatron-bridge"))
                cls.add(item + "-bridge", bridge, cls.iteration(cls.convert(hf, item + "-one", "--to", "megatron", *local)))

    @classmethod
    def add(cls, title, folder, told_by):
        """`told_by` has the arguments for the folder's model, and its tensors."""
        cls.cases.append((title, folder, told_by))
        cls.plain[title] = load_file(cls.convert(told_by, title + ".safetensors"))

    @classmethod
    def convert(cls, source, name, *options):
        return convert(ANEMONE, source, os.path.join(cls.dir, name), *options)

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
                    want = self.plain[title][stored_name(name)]
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
