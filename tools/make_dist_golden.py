#!/usr/bin/env python3
"""Golden distributed checkpoints by the torch that runs this, and the corpus of `.metadata` pickles for the fuzz target.

    make_dist_golden.py golden DIR            DIR/dist-torch-VERSION.tar.xz: two gloo processes save a nested dict with
                                              torch.distributed.checkpoint
    make_dist_golden.py corpus DIR            good and hostile `.metadata` files

Needs torch (made with 2.2.2, 2.9.1 and 2.15.0; the corpus with 2.15.0) and safetensors. Nothing of this runs in the project's tests.
"""
import io
import lzma
import os
import pickle
import sys
import tarfile
import tempfile


def rank_main(rank, world, folder, plain):
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save_file
    from torch.distributed.device_mesh import init_device_mesh
    try:
        from torch.distributed.tensor import Replicate, Shard, distribute_tensor
        shorter = Shard(0)
    except ImportError:  # before torch 2.5, which at first asked for a row a rank
        from torch.distributed._tensor import Replicate, Shard, distribute_tensor
        shorter = None

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29533", RANK=str(rank), WORLD_SIZE=str(world))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.manual_seed(7)
    mesh = init_device_mesh("cpu", (world,))

    def values(*shape, dtype=torch.float32):
        return torch.randn(*shape).to(dtype)

    tensors = {  # every rank makes the same values; some are then cut
        "model.embed.weight": (values(10, 6, dtype=torch.bfloat16), Shard(0)),
        "model.proj.weight": (values(6, 7), Shard(1)),          # 4 + 3 columns: uneven
        "model.odd.weight": (values(5, 3), Shard(0)),           # 3 + 2 rows
        "model.short.weight": (values(1, 4), shorter),          # the second rank has no row
        "model.bias": (values(6), Replicate()),
        "model.half": (values(3, 2, dtype=torch.float16), None),
        "model.scalar": (torch.tensor(3.5), None),
        "model.ids": (torch.arange(5), None),
        "model.mask": (torch.tensor([True, False, True]), None),
        "model.strided": (values(4, 6).t(), None),
        "model.empty": (torch.zeros(0, 3), None),
        "optim.state.embed.exp_avg": (values(10, 6), Shard(0)),
    }
    state = {}
    for key, (tensor, placement) in tensors.items():
        at = state
        *path, last = key.split(".")
        for step in path:
            at = at.setdefault(step, {})
        at[last] = tensor if placement is None else distribute_tensor(tensor, mesh, [placement])
    state["optim"]["param_groups"] = [{"lr": 1e-3, "betas": (0.9, 0.95)}]
    state["step"] = 12
    state["note"] = "trained"
    dcp.save(state, storage_writer=dcp.FileSystemWriter(folder))
    if rank == 0:
        save_file({k: t.contiguous() for k, (t, _) in tensors.items()}, plain)
    dist.barrier()
    dist.destroy_process_group()


def make_golden(folder):
    import torch
    import torch.multiprocessing as mp

    version = ".".join(torch.__version__.split(".")[:2])
    out = os.path.join(folder, f"dist-torch-{version}.tar.xz")
    with tempfile.TemporaryDirectory() as top:
        root = os.path.join(top, f"dist_torch_{version}")
        os.makedirs(root)
        mp.spawn(rank_main, args=(2, os.path.join(root, "plain_dcp"), os.path.join(root, "plain.safetensors")), nprocs=2)

        def plain_owner(info):
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mtime = 0
            return info

        with lzma.open(out, "wb", preset=9) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(root, arcname=f"dist_torch_{version}", filter=plain_owner)


def write_corpus(folder):
    import torch
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import (BytesStorageMetadata, ChunkStorageMetadata, Metadata, MetadataIndex,
                                                       TensorProperties, TensorStorageMetadata)
    from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType

    os.makedirs(folder, exist_ok=True)

    def tensor(size, chunks, dtype=torch.float32):
        return TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(size),
                                     [ChunkStorageMetadata(torch.Size(o), torch.Size(s)) for o, s in chunks])

    def place(key, offset, at, path="__0_0.distcp", transforms=None):
        return {MetadataIndex(key, offset): _StorageInfo(path, at, 512, transforms)}

    def write(name, state, storage, protocol=4, **more):
        metadata = Metadata(state, {k: tuple(k.split(".")) for k in state}, storage)
        for attribute, value in more.items():
            setattr(metadata, attribute, value)
        with open(os.path.join(folder, name), "wb") as file:
            pickle.dump(metadata, file, protocol=protocol)

    halves = [((0, 0), (2, 3)), ((2, 0), (2, 3))]
    two = {**place("w", (0, 0), 0), **place("w", (2, 0), 512)}
    for protocol in (2, 4, 5):
        write(f"good_protocol{protocol}", {"w": tensor((4, 3), halves), "o": BytesStorageMetadata()},
              {**two, **place("o", None, 1024)}, protocol)
    write("good_flattened", {"w": tensor((2, 1, 3), [((0, 0, 0), (2, 1, 3))])}, place("w", (0, 0, 0), 0),
          mcore_data={"w": {"nd_reformulated_orig_global_shape": (2, 3)}})
    shard = TensorWriteData(ChunkStorageMetadata(torch.Size((0, 0)), torch.Size((2, 3))), TensorProperties(), torch.Size((4, 3)))
    write("good_plans", {"w": tensor((4, 3), halves), "o": BytesStorageMetadata()}, {**two, **place("o", None, 1024)},
          all_local_plans=[SavePlan([WriteItem(MetadataIndex("w", (0, 0)), WriteItemType.SHARD, tensor_data=shard)])])
    write("good_scalar", {"w": tensor((), [((), ())])}, place("w", (), 0))
    write("bad_flattened", {"w": tensor((2, 1, 3), [((0, 0, 0), (2, 1, 3))])}, place("w", (0, 0, 0), 0),
          mcore_data={"w": {"nd_reformulated_orig_global_shape": (2, 5)}})
    write("bad_overlap", {"w": tensor((4, 3), [((0, 0), (3, 3)), ((2, 0), (2, 3))])}, two)
    write("bad_hole", {"w": tensor((4, 3), halves[:1])}, two)
    write("bad_outside", {"w": tensor((4, 3), [((0, 0), (2, 3)), ((2, 0), (3, 3))])}, two)
    write("bad_unstored", {"w": tensor((4, 3), halves)}, place("w", (0, 0), 0))
    write("bad_overflow", {"w": tensor((1 << 40, 1 << 40), [((0, 0), (1 << 40, 1 << 40))])}, place("w", (0, 0), 0))
    write("bad_negative", {"w": tensor((4, 3), halves)}, {**place("w", (0, 0), -1), **place("w", (2, 0), 512)})
    for i, path in enumerate(["../secret", "/etc/passwd", "a/b.distcp", "..", "", "x\0y"]):
        write(f"bad_path{i}", {"w": tensor((4, 3), [((0, 0), (4, 3))])}, place("w", (0, 0), 0, path))
    write("bad_transform", {"w": tensor((4, 3), [((0, 0), (4, 3))])}, place("w", (0, 0), 0, transforms=["zstd"]))

    class Shell:
        def __reduce__(self):
            return os.system, ("echo broken",)

    write("bad_system_planner", {"w": tensor((4, 3), halves)}, two, planner_data=Shell())
    write("bad_system_extra", {"w": tensor((4, 3), halves)}, two, storage_meta=[Shell()])
    with open(os.path.join(folder, "bad_system_root"), "wb") as file:
        pickle.dump(Shell(), file)
    # Class names of other versions: torch 2.2 kept the properties elsewhere, Megatron 0.15 had a Metadata of its own.
    def renamed(name, *names):
        with open(os.path.join(folder, "good_protocol2"), "rb") as file:
            data = file.read()
        for old, new in names:
            assert old in data
            data = data.replace(old, new)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)

    here, there = b"ctorch.distributed.checkpoint.metadata\n", b"ctorch.distributed._shard.sharded_tensor.metadata\n"
    renamed("good_torch22", (here + b"TensorProperties\n", there + b"TensorProperties\n"),
            (here + b"_MEM_FORMAT_ENCODING\n", there + b"MEM_FORMAT_ENCODING\n"))
    renamed("good_mcore15", (here + b"Metadata\n", b"cmegatron.core.dist_checkpointing.strategies.torch\nMCoreMetadata\n"))
    renamed("bad_class", (here + b"BytesStorageMetadata\n", b"cbuiltins\neval\n"))
    # One list of chunks shared by many keys, one list doubled forty times.
    shared = tensor((200, 1), [((i, 0), (1, 1)) for i in range(200)])
    write("bad_shared_chunks", {f"k{i}": shared for i in range(300)}, place("k0", (0, 0), 0))
    bomb = ["x"]
    for _ in range(40):
        bomb = [bomb, bomb]
    write("memo_bomb", {"w": tensor((4, 3), halves)}, two, planner_data={"w": bomb})
    good = open(os.path.join(folder, "good_protocol4"), "rb").read()
    for cut in (1, len(good) // 2, len(good) - 1):
        with open(os.path.join(folder, f"cut_{cut}"), "wb") as file:
            file.write(good[:cut])


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("golden", "corpus"):
        sys.exit(__doc__)
    {"golden": make_golden, "corpus": write_corpus}[sys.argv[1]](sys.argv[2])
