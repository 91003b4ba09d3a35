"""Trainings of several expert ranks, a file for each, that Megatron-core goes on with from what anemone made of them.

usage: experts_test.py ANEMONE
tools/make_megatron_experts_golden.py trains and saves: Adam, and the distributed optimizer on two stages. From the folder that anemone writes,
Megatron-core loads model and optimizer and saves them again, on as many expert ranks as before and on one: weights and states must be those
that Megatron-core saves of the training itself. On as many ranks, one more step must be, too.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest
import warnings

import torch.multiprocessing as multiprocessing
from core_model import fused_adam

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "tools"))
import make_megatron_experts_golden as training  # noqa: E402

warnings.filterwarnings("ignore")
ANEMONE = sys.argv[1]
# Beside those that are stored: two tensor ranks, which older cores train in another way.
TENSOR = {"experts-tensor": dict(tensor_model_parallel_size=2, pipeline_model_parallel_size=1, data_parallel_size=2,
                                 use_distributed_optimizer=True)}
ITEMS = {**training.ITEMS, **(TENSOR if training.core_version() >= (0, 16) else {})}
training.ITEMS = ITEMS


def go_on(rank, args, folder, scratch):
    from megatron.core import dist_checkpointing
    with training.process(rank, args, scratch), fused_adam(args.use_distributed_optimizer):
        model = training.build(args)
        for parameter in model.parameters():
            parameter.data.fill_(7)
        optimizer = training.optimizer_of(args, model)
        common = dist_checkpointing.load_common_state_dict(folder)
        metadata = common["content_metadata"]
        state = {"model": model.sharded_state_dict(metadata=metadata)}
        state["optimizer"] = optimizer.sharded_state_dict(state, is_loading=True, metadata=metadata)
        loaded = dist_checkpointing.load(state, folder)
        model.load_state_dict(loaded["model"])
        optimizer.load_state_dict(loaded["optimizer"])
        training.save_distributed(args, model, optimizer, scratch / "loaded")
        training.step(args, model, optimizer, training.ITERATION)
        training.save_distributed(args, model, optimizer, scratch / "stepped")


@unittest.skipUnless(training.core_version() >= (0, 14), "this Megatron-core's optimizers take no metadata")
class Experts(unittest.TestCase):
    def test_trainings_go_on(self):
        for item in ITEMS:
            with tempfile.TemporaryDirectory() as made:
                source = pathlib.Path(made)
                training.make_item(item, source / "item", source)
                for ranks in (2, 1):
                    with self.subTest(item, expert_ranks=ranks), tempfile.TemporaryDirectory() as scratch:
                        self.check(item, ranks, source, pathlib.Path(scratch))

    def check(self, item, ranks, source, scratch):
        folder = scratch / "lm"
        subprocess.run([ANEMONE, "-q", "convert", source / "item/ckpt", folder, "--to", "megatron", "--ep", str(ranks)], check=True)
        args = training.arguments_of(item, expert_model_parallel_size=ranks)
        multiprocessing.spawn(go_on, (args, str(next(folder.glob("iter_*"))), scratch), nprocs=args.world_size)
        self.assertEqual(training.lists(scratch / "loaded"), training.lists(source / "dist"))
        if ranks == training.ARGS["expert_model_parallel_size"]:  # on others, the gradients' norm is summed in another order
            self.assertEqual(training.lists(scratch / "stepped"), training.lists(source / "later"))
        self.assertNotEqual(training.lists(source / "dist"), training.lists(source / "later"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
