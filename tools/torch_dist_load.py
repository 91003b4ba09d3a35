"""The distributed checkpoints that anemone writes, loaded by torch and by Megatron-core.

usage: torch_dist_load.py ANEMONE CHECKPOINT…

Each CHECKPOINT is written as torch_dist, whole and cut for 8 tensor ranks, as a NeMo 2 folder, and as safetensors.
torch.distributed.checkpoint.load (one process) must give the same bits, layer stacks unstacked; and, where megatron.core is installed, two
gloo processes load halves of every tensor with dist_checkpointing.load, extra states as sharded objects. Needs torch and safetensors.
"""

import os
import re
import subprocess
import sys
import tempfile
import warnings

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

warnings.filterwarnings("ignore")


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def expected(key, size, plain):
    """The tensor that belongs under `key`: one of `plain`, or its layers stacked."""
    if key in plain:
        return plain[key]
    layers = [plain[re.sub(r"\.layers\.", f".layers.{i}.", key, count=1)] for i in range(size[0])]
    return torch.stack(layers)


def metadata(folder):
    return dcp.FileSystemReader(folder).read_metadata().state_dict_metadata


def by_torch(folder, plain):
    entries = metadata(folder)
    state = {k: torch.full(m.size, 7, dtype=m.properties.dtype) for k, m in entries.items() if isinstance(m, TensorStorageMetadata)}
    try:
        dcp.load(state, checkpoint_id=folder, no_dist=True)
    except TypeError:
        dcp.load_state_dict(state, dcp.FileSystemReader(folder), no_dist=True)
    found = 0
    for key, tensor in state.items():
        want = expected(key, tensor.shape, plain)
        assert (tensor.dtype, tensor.shape) == (want.dtype, want.shape) and torch.equal(bits(tensor), bits(want)), key
        found += tensor.shape[0] if key not in plain else 1
    assert found == len(plain), f"{found} of {len(plain)} tensors"
    return len(state)


def megatron_rank(rank, cases):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29600")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    from megatron.core import parallel_state
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=2)
    for title, folder, plain in cases:
        tensors, objects = by_megatron(rank, folder, plain)
        if rank == 0:
            print(f"{title}: {tensors} tensors, {objects} objects by Megatron-core on 2 ranks", flush=True)
    dist.destroy_process_group()


def by_megatron(rank, folder, plain):
    from megatron.core import dist_checkpointing as mc
    state, objects = {}, {}
    for key, entry in metadata(folder).items():
        if isinstance(entry, TensorStorageMetadata):
            size, axis = list(entry.size), next((a for a, s in enumerate(entry.size) if s % 2 == 0 and s > 0), None)
            if axis is None:
                local = torch.zeros(size, dtype=entry.properties.dtype)
                state[key] = mc.ShardedTensor.from_rank_offsets(key, local, replica_id=rank)
            else:
                size[axis] //= 2
                local = torch.zeros(size, dtype=entry.properties.dtype)
                state[key] = mc.ShardedTensor.from_rank_offsets(key, local, (axis, rank, 2), replica_id=0)
        else:
            name, _, shard = key.rpartition("/shard_")
            offset, _, shape = shard.partition("_")
            objects[key] = mc.mapping.ShardedObject(name, None, tuple(map(int, shape.split("."))), tuple(map(int, offset.split("."))),
                                                    replica_id=rank)
    loaded = mc.load({**state, **objects}, folder)
    for key, tensor in loaded.items():
        if key not in state:
            continue
        want = expected(key, metadata(folder)[key].size, plain)
        axis = next((a for a, s in enumerate(want.shape) if s % 2 == 0 and s > 0), None)
        want = want if axis is None else want.chunk(2, axis)[rank]
        assert torch.equal(bits(tensor), bits(want)), key
    return len(state), len(objects)


def nemo2_names(plain):
    """As the modules of NeMo 2 are called."""
    parts = {"model.": "module.", "module.vision_encoder.": "module.vision_model.", "module.text_encoder.": "module.text_model."}
    for old, new in parts.items():
        plain = {new + name[len(old):] if name.startswith(old) else name: tensor for name, tensor in plain.items()}
    return plain


VARIANTS = {"torch_dist": ["--to", "torch_dist"], "torch_dist --tp 8": ["--to", "torch_dist", "--tp", "8"], "nemo2": ["--to", "nemo2"]}


def main(anemone, *checkpoints):
    try:
        import megatron.core
        has_megatron = True
        print(f"torch {torch.__version__}, Megatron-core {megatron.core.__version__}")
    except ImportError:
        has_megatron = False
        print(f"torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as work:
        cases = []
        for index, checkpoint in enumerate(checkpoints):
            plain_path = os.path.join(work, f"{index}.safetensors")
            subprocess.run([anemone, "-q", "convert", checkpoint, plain_path], check=True)
            for variant, options in VARIANTS.items():
                folder = os.path.join(work, f"{index} {variant}")
                subprocess.run([anemone, "-q", "convert", checkpoint, folder, *options], check=True)
                plain = load_file(plain_path)
                if variant == "nemo2":
                    folder, plain = os.path.join(folder, "weights"), nemo2_names(plain)
                files = sum(name.endswith(".distcp") for name in os.listdir(folder))
                cases.append((f"{checkpoint} as {variant}", folder, plain))
                print(f"{cases[-1][0]}: {files} files, {by_torch(folder, plain)} keys by torch", flush=True)
        if has_megatron:
            import torch.multiprocessing as multiprocessing
            multiprocessing.spawn(megatron_rank, (cases,), nprocs=2)
    print("all loaded")


if __name__ == "__main__":
    main(*sys.argv[1:])
