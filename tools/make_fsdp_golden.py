"""Makes checkpoints in the form of Megatron-LM's --ckpt-format fsdp_dtensor, by torch's own torch.distributed.checkpoint on two ranks.

usage: make_fsdp_golden.py OUT
Names are those of megatron/training/checkpointing.py (preprocess_fsdp_dtensor_state_dict) and tools/checkpoint/checkpoint_inspector.py of
Megatron-LM d98e8a6. Megatron-FSDP itself needs a GPU. OUT/NAME/ckpt is the save folder, plain.sha256 and optimizer.sha256 list what it holds.
"""

import argparse
import hashlib
import os
import pathlib
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

RANKS = 2
WIDTH, FFN, HEADS, GROUPS, LAYERS, ROWS = 16, 24, 4, 2, 2, 50
ARGS = dict(num_layers=LAYERS, hidden_size=WIDTH, ffn_hidden_size=FFN, num_attention_heads=HEADS, num_query_groups=GROUPS, kv_channels=4,
            group_query_attention=True, max_position_embeddings=32, seq_length=32, padded_vocab_size=ROWS, normalization="RMSNorm",
            norm_epsilon=1e-6, swiglu=True, position_embedding_type="rope", rotary_base=10000, rotary_percent=1.0, add_bias_linear=False,
            untie_embeddings_and_output_weights=True, tensor_model_parallel_size=1, pipeline_model_parallel_size=1, world_size=RANKS,
            params_dtype=torch.bfloat16, bf16=True, fp16=False, use_megatron_fsdp=True, ckpt_format="fsdp_dtensor",
            transformer_impl="transformer_engine", consumed_train_samples=28, use_distributed_optimizer=True)


def matrices(experts):
    shapes = {"embedding.word_embeddings.weight": (ROWS, WIDTH)}
    for layer in range(LAYERS):
        at = f"decoder.layers.{layer}."
        shapes[at + "self_attention.linear_proj.weight"] = (WIDTH, WIDTH)
        shapes[at + "self_attention.linear_qkv.layer_norm_weight"] = (WIDTH,)
        shapes[at + "self_attention.linear_qkv.weight"] = (WIDTH + 2 * GROUPS * 4, WIDTH)
        if experts:
            shapes[at + "pre_mlp_layernorm.weight"] = (WIDTH,)
            shapes[at + "mlp.router.weight"] = (experts, WIDTH)
            for expert in range(experts):
                shapes[at + f"mlp.experts.linear_fc1.weight{expert}"] = (2 * FFN, WIDTH)
                shapes[at + f"mlp.experts.linear_fc2.weight{expert}"] = (WIDTH, FFN)
        else:
            shapes[at + "mlp.linear_fc1.layer_norm_weight"] = (WIDTH,)
            shapes[at + "mlp.linear_fc1.weight"] = (2 * FFN, WIDTH)
            shapes[at + "mlp.linear_fc2.weight"] = (WIDTH, FFN)
    shapes["decoder.final_layernorm.weight"] = (WIDTH,)
    shapes["output_layer.weight"] = (ROWS, WIDTH)
    return shapes


def halves(name, tensor):
    """A gated linear_fc1 is stored as its gate, _w, and its other half, _v."""
    if ".linear_fc1.weight" not in name:
        return {name: tensor}
    gate, up = tensor.chunk(2)
    return {name + "_w": gate.contiguous(), name + "_v": up.contiguous()}


def digest(tensor):
    return f"F32 {','.join(map(str, tensor.shape))} {hashlib.sha256(tensor.numpy().tobytes()).hexdigest()}"


def group_of(name):
    has_decay = not name.endswith("layer_norm_weight") and "layernorm" not in name
    return dict(wd_mult=1.0 if has_decay else 0.0, lr_mult=1.0, is_expert_parallel=False, is_decoupled_lr=False, lr=0.001, max_lr=0.01,
                min_lr=0.001, betas=(0.9, 0.999), eps=1e-8, bias_correction=True, weight_decay=0.01 if has_decay else 0.0, step=7)


def save(rank, out, experts):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29591")
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    torch.manual_seed(experts)
    model, state, groups, plain, optimizer = {}, {}, {}, [], []
    for name, shape in matrices(experts).items():
        tensors = {kind: torch.randint(-99, 99, shape).float() / 128 for kind in ("weight", "exp_avg", "exp_avg_sq")}
        plain.append(f"{name} {digest(tensors['weight'])}")
        optimizer += [f"{kind}.{name} {digest(tensors[kind])}" for kind in ("exp_avg", "exp_avg_sq")]
        for kind, tensor in tensors.items():
            for part, half in halves(name, tensor).items():
                shards = distribute_tensor(half, mesh, [Shard(0)])
                if kind == "weight":
                    model["module." + part] = shards
                else:
                    state.setdefault("module.module.module." + part, {})[kind] = shards
        for part in halves(name, tensors["weight"]):
            groups["module.module.module." + part] = group_of(name)
    args = argparse.Namespace(**ARGS, **(dict(num_experts=experts, moe_grouped_gemm=True, moe_router_topk=2, moe_ffn_hidden_size=FFN,
                                              expert_model_parallel_size=1, moe_router_pre_softmax=False) if experts else {}))
    folder = out / "ckpt" / "iter_0000007"
    folder.mkdir(parents=True, exist_ok=True)
    dcp.save({"args": args, "checkpoint_version": 3.0, "iteration": 7, "model": model,
              "optimizer": {"state": state, "param_to_group_meta": groups},
              "opt_param_scheduler": {"max_lr": 0.01, "num_steps": 28, "lr_decay_style": "cosine"},
              "rng_state": [{"random_rng_state": (3, (1, 2, 3), None)}], "num_floating_point_operations_so_far": 1e9},
             storage_writer=dcp.FileSystemWriter(folder))
    if rank == 0:
        (out / "ckpt" / "latest_checkpointed_iteration.txt").write_text("7")
        (out / "plain.sha256").write_text("".join(line + "\n" for line in plain))
        (out / "optimizer.sha256").write_text("".join(line + "\n" for line in optimizer))
    dist.destroy_process_group()


if __name__ == "__main__":
    for item, count in (("fsdp-llama", 0), ("fsdp-experts", 3)):
        multiprocessing.spawn(save, (pathlib.Path(sys.argv[1]) / item, count), nprocs=RANKS)
