"""Makes Megatron-LM's checkpoints with a file for each expert rank, and their optimizers, by Megatron-core on a CPU.

usage: make_megatron_experts_golden.py OUT [ITEM...]
Megatron-core trains and makes all that is stored: Adam, and the distributed optimizer on two stages. Folders and keys are those of
megatron/training/checkpointing.py (get_checkpoint_name, generate_state_dict, save_checkpoint) of core_v0.16.1. Gradients are random numbers.
OUT/NAME/ckpt is the save folder. plain.sha256 and optimizer.sha256 list what Megatron-core stores of the same training as a distributed
checkpoint.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import re
import sys
import tempfile
import zlib

import torch
import torch.multiprocessing as multiprocessing

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/interop/megatron"))
from core_model import CpuForCuda, answer_as_a_cpu, local_layers, start, transformer_config  # noqa: E402

ITERATION = 3
ARGS = dict(num_layers=2, hidden_size=16, ffn_hidden_size=8, moe_ffn_hidden_size=8, num_attention_heads=4, num_query_groups=2, kv_channels=4,
            group_query_attention=True, max_position_embeddings=32, seq_length=32, padded_vocab_size=16, normalization="RMSNorm",
            layernorm_epsilon=1e-6, swiglu=True, position_embedding_type="rope", rotary_base=10000, rotary_percent=1.0, add_bias_linear=False,
            untie_embeddings_and_output_weights=True, tensor_model_parallel_size=1, expert_model_parallel_size=2, num_experts=4,
            moe_router_topk=2, qk_layernorm=False, bias_gelu_fusion=False, params_dtype=torch.bfloat16, bf16=True, fp16=False,
            ckpt_format="torch", transformer_impl="local", consumed_train_samples=12)
ITEMS = {"experts-adam": dict(pipeline_model_parallel_size=1, data_parallel_size=2, use_distributed_optimizer=False),
         "experts-distributed": dict(pipeline_model_parallel_size=2, data_parallel_size=2, use_distributed_optimizer=True)}


def core_version():
    from megatron.core.package_info import __version__
    return tuple(map(int, __version__.split(".")[:2]))


def seed(name):
    torch.manual_seed(zlib.crc32(name.encode()))


def name_in_all(args, name):
    """A parameter's name among those of all ranks."""
    from megatron.core import parallel_state
    layers = args.num_layers // args.pipeline_model_parallel_size * parallel_state.get_pipeline_model_parallel_rank()
    experts = args.num_experts // args.expert_model_parallel_size * parallel_state.get_expert_model_parallel_rank()
    name = re.sub(r"layers\.(\d+)", lambda found: f"layers.{int(found[1]) + layers}", name)
    return re.sub(r"local_experts\.(\d+)", lambda found: f"local_experts.{int(found[1]) + experts}", name)


def part_of(parameter):
    """What tells a tensor rank's part of it."""
    from megatron.core import parallel_state
    rank = parallel_state.get_tensor_model_parallel_rank()
    return f" {rank}" if rank and getattr(parameter, "tensor_model_parallel", False) else ""


def build(args):
    from megatron.core import parallel_state
    from megatron.core.models.gpt.gpt_model import GPTModel
    config = transformer_config(args, args.tensor_model_parallel_size)
    model = GPTModel(config, local_layers(args), args.padded_vocab_size, args.max_position_embeddings, position_embedding_type="rope",
                     pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage(),
                     share_embeddings_and_output_weights=False).to(args.params_dtype)
    for name, parameter in model.named_parameters():
        seed(name_in_all(args, name) + part_of(parameter))
        parameter.data.normal_(1 if "norm" in name else 0, 0.1)
    return model


def optimizer_of(args, model):
    import megatron.core.optimizer as optimizer
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    distributed = args.use_distributed_optimizer
    buffers = DistributedDataParallelConfig(use_distributed_optimizer=distributed, grad_reduce_in_fp32=True)
    chunk = DistributedDataParallel(model.config, buffers, model)
    config = optimizer.OptimizerConfig(optimizer="adam", lr=1e-2, min_lr=1e-3, weight_decay=0.01, bf16=True, params_dtype=torch.bfloat16,
                                       use_distributed_optimizer=distributed, clip_grad=1.0)
    return optimizer.get_megatron_optimizer(config, [chunk])


def step(args, model, optimizer, number):
    """Random gradients, the same wherever a parameter is."""
    for name, parameter in model.named_parameters():
        seed(f"gradient {number} {name_in_all(args, name)}" + part_of(parameter))
        parameter.main_grad.normal_()
    assert optimizer.step()[0]


def rank_folder(args):
    from megatron.core import parallel_state
    name = f"mp_rank_{parallel_state.get_tensor_model_parallel_rank():02d}"
    if args.pipeline_model_parallel_size > 1:
        name += f"_{parallel_state.get_pipeline_model_parallel_rank():03d}"
    return name + f"_{parallel_state.get_expert_model_parallel_rank():03d}"


def save_rank(args, model, optimizer, folder):
    from megatron.core import parallel_state
    own = folder / rank_folder(args)
    own.mkdir(parents=True, exist_ok=True)
    torch.distributed.barrier()
    if args.use_distributed_optimizer:
        optimizer.save_parameter_state(str(own / "distrib_optim.pt"))
    if parallel_state.get_expert_data_parallel_rank() == 0:
        state = {"args": args, "checkpoint_version": 3.0, "iteration": ITERATION, "model": model.state_dict_for_save_checkpoint(),
                 "optimizer": optimizer.state_dict(), "num_floating_point_operations_so_far": 0}
        torch.save(state, own / "model_optim_rng.pt")


def save_distributed(args, model, optimizer, folder):
    from megatron.core import dist_checkpointing
    metadata = {"singleton_local_shards": False, "chained_optim_avoid_prefix": True}
    if args.use_distributed_optimizer:
        metadata["distrib_optim_sharding_type"] = "fully_reshardable" if core_version() >= (0, 15) else "fully_sharded_model_space"
    state = {"model": model.sharded_state_dict(metadata=metadata)}
    state["optimizer"] = optimizer.sharded_state_dict(state, metadata=metadata)
    if torch.distributed.get_rank() == 0:
        os.makedirs(folder)
    torch.distributed.barrier()
    dist_checkpointing.save(state, folder, content_metadata=metadata)


@contextlib.contextmanager
def process(rank, args, scratch):
    """One process of a training."""
    answer_as_a_cpu()
    with CpuForCuda():
        start(rank, args.world_size, str(scratch), tensor_model_parallel_size=args.tensor_model_parallel_size,
              pipeline_model_parallel_size=args.pipeline_model_parallel_size,
              expert_model_parallel_size=args.expert_model_parallel_size)
        yield
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def make(rank, args, out, scratch):
    with process(rank, args, scratch):
        model = build(args)
        optimizer = optimizer_of(args, model)
        for number in range(ITERATION):
            step(args, model, optimizer, number)
        save_rank(args, model, optimizer, out / "ckpt" / f"iter_{ITERATION:07d}")
        save_distributed(args, model, optimizer, scratch / "dist")
        step(args, model, optimizer, ITERATION)
        save_distributed(args, model, optimizer, scratch / "later")


def arguments_of(item, **changed):
    args = argparse.Namespace(**{**ARGS, **ITEMS[item], **changed})
    args.world_size = args.tensor_model_parallel_size * args.pipeline_model_parallel_size * args.data_parallel_size
    return args


def whole(key, tensor):
    """A distributed checkpoint's tensor by its parameters' names."""
    at = "decoder.layers."
    if not key.startswith(at):
        return {key: tensor}
    result = {}
    for layer in range(tensor.shape[0]):
        name = f"{at}{layer}.{key[len(at):]}"
        if ".experts.experts." not in name:
            result[name] = tensor[layer]
        else:
            result.update({name.replace(".experts.experts.", f".experts.local_experts.{e}."): tensor[layer][e] for e in range(tensor.shape[1])})
    return result


def digests(tensors):
    dtypes = {torch.bfloat16: "BF16", torch.float32: "F32"}
    lines = []
    for name, tensor in sorted(tensors.items()):
        digest = hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        lines.append(f"{name} {dtypes[tensor.dtype]} {','.join(map(str, tensor.shape))} {digest}\n")
    return "".join(lines)


def lists(folder):
    """What a distributed checkpoint holds: weights and an optimizer's states. load_plain_tensors reads no metadata of torch 2.15."""
    import torch.distributed.checkpoint as dcp
    reader = dcp.FileSystemReader(folder)
    entries = reader.read_metadata().state_dict_metadata
    state = {key: torch.empty(entry.size, dtype=entry.properties.dtype) for key, entry in entries.items() if hasattr(entry, "size")}
    dcp.load(state, storage_reader=reader, no_dist=True)
    plain, states = {}, {}
    for key, tensor in state.items():
        start = "optimizer.state."
        if not key.startswith(start):
            plain.update(whole(key, tensor))
            continue
        kind, parameter = key[len(start):].split(".", 1)
        states.update({f"{kind}.{name}": own for name, own in whole(parameter, tensor).items()})
    assert plain and states
    # Up to core 0.14 states have one dimension.
    states = {name: tensor.reshape(plain[name.split(".", 1)[1]].shape) for name, tensor in states.items()}
    return digests(plain), digests(states)


def make_item(item, out, scratch):
    args = arguments_of(item)
    out.mkdir(parents=True)
    multiprocessing.spawn(make, (args, out, scratch), nprocs=args.world_size)
    (out / "ckpt" / "latest_checkpointed_iteration.txt").write_text(str(ITERATION))


def main():
    out = pathlib.Path(sys.argv[1])
    for item in sys.argv[2:] or ITEMS:
        with tempfile.TemporaryDirectory() as scratch:
            make_item(item, out / item, pathlib.Path(scratch))
            plain, states = lists(pathlib.Path(scratch) / "dist")
        (out / item / "plain.sha256").write_text(plain)
        (out / item / "optimizer.sha256").write_text(states)


if __name__ == "__main__":
    main()
