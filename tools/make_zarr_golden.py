#!/usr/bin/env python3
"""Trains a tiny GPT with Megatron-core's distributed optimizer and saves it as zarr and as torch_dist.

  PYTHONPATH=CORE:tests/interop/megatron tools/make_zarr_golden.py ARGS DIR

CORE has Megatron-core 0.9 and its zarr, numcodecs and tensorstore; ARGS is a `common.pt` of a Megatron-LM training, whose arguments are
changed to this model's. On a CPU: two data-parallel ranks, gloo. DIR receives `zarr/` and `torch_dist/`, the save folders of one iteration.
"""

import argparse
import os
import sys

import core_model
import torch
import torch.multiprocessing as multiprocessing

RANKS, STEPS, TOKENS = 2, 3, 16
SIZES = dict(num_layers=2, hidden_size=8, ffn_hidden_size=12, num_attention_heads=2, num_query_groups=1, kv_channels=4, vocab_size=16,
             padded_vocab_size=16, max_position_embeddings=TOKENS, seq_length=TOKENS, untie_embeddings_and_output_weights=True, swiglu=True,
             add_bias_linear=False, normalization="LayerNorm", tensor_model_parallel_size=1, pipeline_model_parallel_size=1, num_experts=None,
             use_distributed_optimizer=True, bf16=False, params_dtype=torch.float32, ckpt_format="zarr", world_size=RANKS)


class Adam(core_model.FusedAdam):
    """From the first step on."""

    def step(self, closure=None):
        for group in self.param_groups:
            group.setdefault("step", 0)
            for parameter in group["params"]:
                for moment in ("exp_avg", "exp_avg_sq"):
                    self.state[parameter].setdefault(moment, torch.zeros_like(parameter))
        return super().step(closure)


def for_torch(filesystem_async):
    """Core 0.9 calls torch 2.4's writer of items."""
    from torch.distributed.checkpoint import filesystem
    filesystem_async._write_item = lambda *given: filesystem._write_item(
        filesystem._StorageWriterTransforms(), *given, filesystem.SerializationFormat.TORCH_SAVE)


def train(rank, args, out):
    core_model.FusedAdam = Adam
    core_model.answer_as_a_cpu()
    with core_model.CpuForCuda(), core_model.fused_adam(True):
        core_model.start(rank, RANKS, out, tensor_model_parallel_size=1)
        from megatron.core import dist_checkpointing, optimizer
        from megatron.core.dist_checkpointing.strategies import filesystem_async
        from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
        for_torch(filesystem_async)
        torch.manual_seed(1)
        model = core_model.build(args, 1, hidden_dropout=0.0, attention_dropout=0.0)
        chunk = DistributedDataParallel(model.config, DistributedDataParallelConfig(use_distributed_optimizer=True), model)
        config = optimizer.OptimizerConfig(optimizer="adam", lr=1e-2, weight_decay=0.01, params_dtype=torch.float32,
                                           use_distributed_optimizer=True)
        adam = optimizer.get_megatron_optimizer(config, [chunk])
        for step in range(STEPS):
            chunk.zero_grad_buffer()
            tokens = torch.arange(TOKENS)[None] * (3 + step + rank) % args.vocab_size
            hidden = torch.triu(torch.ones(1, 1, TOKENS, TOKENS), 1) > 0
            chunk(tokens, torch.arange(TOKENS)[None], hidden, labels=tokens.roll(-1, 1)).mean().backward()
            finalize_model_grads([chunk])
            adam.step()
        for backend in ("zarr", "torch_dist"):
            folder = os.path.join(out, backend, f"iter_{STEPS:07d}")
            os.makedirs(folder, exist_ok=True)
            torch.distributed.barrier()
            state = {"model": model.sharded_state_dict(), "args": args, "checkpoint_version": 3.0, "iteration": STEPS}
            state["optimizer"] = adam.sharded_state_dict({"model": state["model"]}, sharding_type="fully_sharded_model_space")
            dist_checkpointing.save(state, folder, (backend, 1))
            with open(os.path.join(out, backend, "latest_checkpointed_iteration.txt"), "w") as file:
                file.write(str(STEPS))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def main():
    source, out = sys.argv[1:]
    args = argparse.Namespace(**{**vars(torch.load(source, weights_only=False)["args"]), **SIZES})
    os.makedirs(out)
    multiprocessing.spawn(train, (args, out), nprocs=RANKS)
    os.remove(os.path.join(out, f"store-{RANKS}"))


if __name__ == "__main__":
    main()
