"""Trainings that go on with Megatron-core from what anemone wrote, beside the same from Megatron's own checkpoint: equal bits.

usage: resume_test.py ANEMONE GOLDEN_DIR [ITEM…]
For each checkpoint with an optimizer: Megatron-core builds the model and its optimizer by the arguments in the checkpoint, loads both with
dist_checkpointing, and takes two steps on a fixed batch. The losses, the weights and the optimizer's fp32 masters must be those of the run
that began with Megatron's own files. What Megatron-core of the given Python cannot load of Megatron's own is said, and has no such test.
GOLDEN_DIR has megatron/ITEM/ckpt of Megatron-LM's own trainings; most are too large for tests/golden.
Limits: a CPU, gloo, Megatron-core's local layers and torch's AdamW; dropout is 0, as random states differ by machine.
"""

import inspect
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
import unittest
import warnings

import torch
import torch.multiprocessing as multiprocessing
from core_model import CpuForCuda, answer_as_a_cpu, arguments, build, fused_adam, start

warnings.filterwarnings("ignore")
ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
TOKENS = 32
# What Megatron wrote, and the ways to a checkpoint of Megatron-LM's again.
DISTRIBUTED = ("mlm09-dist-tp1-llama-te", "mlm09-dist-dp2-fully_sharded", "mlm14-dist-tp1-llama", "mlm16-dist-tp2-llama",
               "mlm20-dist-tp1-llama", "mlm20-dist-dp2-fully_reshardable")
RANKS = ("mlm20-torch-tp1-llama", "mlm20-torch-tp1-gpt2", "mlm20-torch-dp2-distopt")
WAYS = {"megatron": (("megatron",),), "bridge": (("megatron-bridge",), ("megatron",)), "nemo2": (("nemo2",), ("megatron",))}


def is_chosen(item):
    return (len(sys.argv) == 3 or item in sys.argv[3:]) and os.path.exists(os.path.join(GOLDEN, "megatron", item))


class Training:
    """A model and its optimizer, as Megatron-LM's setup_model_and_optimizer makes them."""

    def __init__(self, args, flags, ranks):
        import megatron.core.optimizer as optimizer
        from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
        is_distributed = flags.use_distributed_optimizer
        self.model = build(args, ranks, hidden_dropout=0.0, attention_dropout=0.0)
        buffers = DistributedDataParallelConfig(use_distributed_optimizer=is_distributed,
                                                grad_reduce_in_fp32=flags.accumulate_allreduce_grads_in_fp32)
        self.chunk = DistributedDataParallel(self.model.config, buffers, self.model)
        config = optimizer.OptimizerConfig(optimizer="adam", lr=flags.lr, min_lr=flags.min_lr, weight_decay=flags.weight_decay, bf16=True,
                                           params_dtype=torch.bfloat16, use_distributed_optimizer=is_distributed, clip_grad=1.0)
        more = {}
        if hasattr(optimizer, "get_standard_config_overrides"):
            more["config_overrides"] = optimizer.get_standard_config_overrides(config)
        self.optimizer = optimizer.get_megatron_optimizer(config, [self.chunk], **more)

    def load_distributed(self, folder):
        from megatron.core import dist_checkpointing
        from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
        common = dist_checkpointing.load_common_state_dict(folder)
        model = self.model.sharded_state_dict()
        sharding = common["optimizer"].get("param_state_sharding_type")
        more = {}
        if "metadata" in inspect.signature(DistributedOptimizer.sharded_state_dict).parameters:
            more["metadata"] = common.get("content_metadata") or {"distrib_optim_sharding_type": sharding}
        elif sharding is not None:
            more["sharding_type"] = sharding
        state = {"model": model, "optimizer": self.optimizer.sharded_state_dict(model, is_loading=True, **more)}
        loaded = dist_checkpointing.load(state, folder)
        self.model.load_state_dict(loaded["model"])
        self.optimizer.load_state_dict(loaded["optimizer"])

    def load_rank(self, folder):
        stored = torch.load(os.path.join(folder, "model_optim_rng.pt"), weights_only=False)
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        buckets = os.path.join(folder, "distrib_optim.pt")
        if os.path.exists(buckets):
            self.optimizer.load_parameter_state(buckets)

    def step(self):
        from megatron.core.distributed import finalize_model_grads
        self.chunk.zero_grad_buffer()
        self.optimizer.zero_grad()
        tokens = torch.arange(2 * TOKENS).reshape(2, TOKENS) * 5 % 200
        places = torch.arange(TOKENS).expand(2, TOKENS)
        hidden = torch.triu(torch.ones(1, 1, TOKENS, TOKENS), 1) > 0
        loss = self.chunk(tokens, places, hidden, labels=tokens.roll(-1, 1)).float().mean()
        loss.backward()
        finalize_model_grads([self.chunk])
        is_done = self.optimizer.step()[0]
        assert is_done
        return loss.item()

    def state(self):
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items() if isinstance(tensor, torch.Tensor)}
        masters = [group["params"] for group in self.optimizer.param_groups]
        return weights, [parameter.detach().clone() for group in masters for parameter in group]


def run(folder, flags, ranks):
    training = Training(arguments_of(folder), flags, ranks)
    before = training.state()
    is_rank = os.path.exists(os.path.join(folder, "model_optim_rng.pt"))
    (training.load_rank if is_rank else training.load_distributed)(folder)
    loaded = training.state()
    losses = [training.step() for _ in range(2)]
    return before, loaded, losses, training.state()


def go_on(rank, ranks, cases, out):
    os.environ["RANK"] = str(rank)
    answer_as_a_cpu()
    with CpuForCuda():
        start(rank, ranks, out)
        for title, folder, flags in cases:
            path = os.path.join(out, f"{title}-{rank}-{ranks}.pt")
            try:
                given = arguments_of(flags)
                with fused_adam(title.startswith("mlm09") or given.use_distributed_optimizer):
                    torch.save(run(folder, given, ranks), path)
            except Exception as error:  # said by the test, for this checkpoint
                with open(path + ".error", "wb") as file:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    pickle.dump(f"{type(error).__name__} in {where.name}: {error}"[:300], file)
    torch.distributed.destroy_process_group()


def arguments_of(folder):
    rank = os.path.join(folder, "model_optim_rng.pt")
    return torch.load(rank, weights_only=False)["args"] if os.path.exists(rank) else arguments(folder)


class Resume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.dir = folder.name
        cls.cases = []
        for item in filter(is_chosen, DISTRIBUTED + RANKS):
            source = os.path.join(GOLDEN, "megatron", item, "ckpt")
            own = os.path.join(cls.iteration(source), "mp_rank_00" if item in RANKS else "")
            cls.cases.append((item, own, own))  # the training's flags are not in a checkpoint of NeMo's or Bridge's
            for way, formats in WAYS.items():
                folder = source
                for number, (to,) in enumerate(formats):
                    target = os.path.join(cls.dir, f"{item}-{way}{number}")
                    subprocess.run([ANEMONE, "-q", "convert", folder, target, "--to", to], check=True)
                    folder = target
                cls.cases.append((f"{item}-{way}", cls.iteration(folder), own))

    @staticmethod
    def iteration(folder):
        return next(entry.path for entry in os.scandir(folder) if entry.is_dir())

    def test_on_one_rank(self):
        self.check(1)

    def test_on_two_tensor_ranks(self):
        self.check(2)

    def results(self, title, ranks):
        results = []
        for rank in range(ranks):
            path = os.path.join(self.dir, f"{title}-{rank}-{ranks}.pt")
            if os.path.exists(path + ".error"):
                with open(path + ".error", "rb") as file:
                    return None, pickle.load(file)
            results.append(torch.load(path, weights_only=False))
        return results, None

    def check(self, ranks):
        cases = [case for case in self.cases if ranks == 1 or not case[2].endswith("mp_rank_00")]
        multiprocessing.spawn(go_on, (ranks, cases, self.dir), nprocs=ranks)
        compared = 0
        for item in filter(is_chosen, DISTRIBUTED + (RANKS if ranks == 1 else ())):
            want, error = self.results(item, ranks)
            if want is None:
                print(f"{item}: Megatron-core does not load its own: {error}")
                continue
            for way in WAYS:
                with self.subTest(item, way=way, ranks=ranks):
                    got, error = self.results(f"{item}-{way}", ranks)
                    self.assertIsNone(error)
                    for one, other in zip(want, got):
                        self.compare(one, other)
                    compared += 1
        if not any(filter(is_chosen, DISTRIBUTED)):
            self.skipTest("no golden checkpoint with an optimizer is here")
        print(f"{compared} trainings of {ranks} ranks go on as Megatron's own")
        self.assertGreater(compared, 0)

    def compare(self, want, got):
        (_, loaded, losses, after), (blank, own_loaded, own_losses, own_after) = want, got
        self.assertFalse(self.same(blank, own_loaded))  # loading did something
        self.assertFalse(self.same(own_loaded, own_after))  # and training
        self.assertTrue(self.same(loaded, own_loaded))
        self.assertEqual(losses, own_losses)
        self.assertTrue(self.same(after, own_after))

    @staticmethod
    def same(one, other):
        (weights, masters), (own_weights, own_masters) = one, other
        return weights.keys() == own_weights.keys() and all(torch.equal(weights[name], own_weights[name]) for name in weights) and \
            len(masters) == len(own_masters) and all(torch.equal(a, b) for a, b in zip(masters, own_masters))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
