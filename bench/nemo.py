#!/usr/bin/env python3
"""Measures what NeMo's users wait for, each part against the least that the disk allows, in one run.

  bench/nemo.py ckpt|merge|lazy|verify|all --anemone build/release/anemone --tools build/release/tools --work DIR [--model ViT-L-14]
      [--merge-model ViT-bigG-14] [--shards 64] [--rounds 5] [--gigabytes 100] [--json FILE]

  ckpt    a training's .ckpt with Adam's states (5.1 GB for ViT-L/14) to .nemo, against cp + fsync of the .nemo's size
  merge   a distributed checkpoint of 64 shards (10 GB for ViT-bigG/14) to one .nemo, likewise; memory
  lazy    config and one artifact from a .nemo of 100 GB, which is a hole but for its headers
  verify  `anemone verify` of the .nemo against `cat` of it

The tools are `make_checkpoint` and `make_lightning` (cmake --build … --target make_checkpoint make_lightning). Contestants take turns;
the figures are medians.
"""

import io
import os
import pickle
import shutil
import struct
import sys
import tarfile
import types

import measure

SPM = "0123456789abcdef0123456789abcdef_spm.model"


def compete(contestants, rounds, sources):
    """{name: (run, target)} in turn; {name: ([seconds], greatest peak KiB)}. Sources are warm, targets absent. The first round does not
    count: a virtual disk gives blocks their place when they are first written."""
    seconds, peaks = {n: [] for n in contestants}, {n: 0 for n in contestants}
    ground = measure.Ground(room=6 << 30)
    for index in range(rounds + 1):
        for name, (contestant, target) in contestants.items():
            if target and os.path.exists(target):
                os.remove(target)
            for source in sources:
                measure.warm(source)
            ground.settle()
            s, peak = contestant()
            if index > 0:
                seconds[name].append(s)
            peaks[name] = max(peaks[name], peak)
            print(f"  {name}: {s:.3f} s, {peak / 1024:.0f} MiB", flush=True)
    return seconds, peaks


def against_copy(args, work, source, sources, label, memory):
    """`anemone convert` of `source` to a .nemo against copying that .nemo."""
    reference, copy, target = (os.path.join(work, n) for n in ("reference.nemo", "copy.nemo", "x.nemo"))
    measure.run([args.anemone, "convert", source, reference, "-q"])
    size = os.path.getsize(reference)
    seconds, peaks = compete({"cp": (lambda: measure.copying(reference, copy), copy),
                              "anemone": (lambda: measure.run([args.anemone, "convert", source, target, "-q"]), target)},
                             args.rounds, sources + [reference])
    measure.run(["cmp", reference, target])
    med = {n: measure.median(s) for n, s in seconds.items()}
    ratio, peak = med["anemone"] / med["cp"], peaks["anemone"] / 1024
    read = sum(os.path.getsize(s) for s in sources)
    return [(f"`cp` of the {size / 1e9:.2f} GB to write, then fsync", f"{med['cp']:.2f} s ({measure.spread(seconds['cp'])})", "", ""),
            (f"`anemone convert` of {label} ({read / 1e9:.2f} GB)", f"{med['anemone']:.2f} s ({measure.spread(seconds['anemone'])})", "", ""),
            ("anemone / cp", f"{ratio:.2f}×", "≤ 1.0×", measure.within(ratio, 1.0)),
            ("anemone, peak resident memory", f"{peak:.0f} MiB", f"≤ {memory} MiB", measure.within(peak, memory))]


def bench_ckpt(args, work):
    hf, ckpt = os.path.join(work, "hf"), os.path.join(work, "run.ckpt")
    measure.run([os.path.join(args.tools, "make_checkpoint"), args.model, hf, "--tokenizer", measure.DEMO])
    measure.run([os.path.join(args.tools, "make_lightning"), hf, ckpt])
    shutil.rmtree(hf)
    return against_copy(args, work, ckpt, [ckpt], f"{args.model}'s .ckpt", 64)


def bench_merge(args, work):
    hf, shards = os.path.join(work, "hf"), os.path.join(work, "shards")
    measure.run([os.path.join(args.tools, "make_checkpoint"), args.merge_model, hf, "--tokenizer", measure.DEMO])
    nemo = os.path.join(work, "whole.nemo")
    measure.run([args.anemone, "convert", hf, nemo, "-q"])
    shutil.rmtree(hf)
    measure.run([args.anemone, "convert", nemo, shards, "--to", "torch_dist", "--tp", str(args.shards), "-q"])
    os.remove(nemo)
    files = sorted(os.path.join(folder, f) for folder, _, names in os.walk(shards) for f in names)
    print(f"  {sum(f.endswith('.distcp') for f in files)} shards")
    return against_copy(args, work, shards, files, f"{args.shards} shards", 128)


def sparse_nemo(path, size, tensors=400):
    """A .nemo whose weights are holes: what a model of that size has besides its numbers."""
    for name in ("torch", "torch._utils", "collections"):
        sys.modules.setdefault(name, types.ModuleType(name))
    torch, utils = sys.modules["torch"], sys.modules["torch._utils"]
    from collections import OrderedDict

    def _rebuild_tensor_v2(*args):
        return args
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.BFloat16Storage = type("BFloat16Storage", (), {"__module__": "torch"})
    elements = size // 2 // tensors

    class Storage:
        def __init__(self, key):
            self.key = key

    class Tensor:
        def __init__(self, key):
            self.key = key

        def __reduce__(self):
            return _rebuild_tensor_v2, (Storage(self.key), 0, (elements // 1024, 1024), (1024, 1), False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.BFloat16Storage, str(value.key), "cpu", elements // 1024 * 1024) if isinstance(value, Storage) else None

    data = io.BytesIO()
    Pickler(data, protocol=2).dump({f"model.layers.{i}.weight": Tensor(i) for i in range(tensors)})
    records = [("data.pkl", data.getvalue()), ("byteorder", b"little")] + [(f"data/{i}", elements // 1024 * 2048) for i in range(tensors)] + \
        [("version", b"3\n")]

    import zlib
    blocks, directory, at = [], b"", 0  # what is not hole: (offset in the zip, bytes)
    for name, content in records:
        name = ("model_weights/" + name).encode()
        count = content if isinstance(content, int) else len(content)
        crc = 0 if isinstance(content, int) else zlib.crc32(content)
        padding = b"FB" + struct.pack("<H", (-(at + 30 + len(name) + 4)) % 64)
        padding += b"Z" * ((-(at + 30 + len(name) + 4)) % 64)
        local = struct.pack("<IHHHHHIIIHH", 0x04034b50, 0, 0x800, 0, 0, 0, crc, count, count, len(name), len(padding)) + name + padding
        extra = struct.pack("<HHQ", 1, 8, at)
        directory += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 0, 45, 0x800, 0, 0, 0, crc, count, count, len(name), len(extra), 0, 0, 0, 0,
                                 0xffffffff) + name + extra
        blocks.append((at, local + (b"" if isinstance(content, int) else content)))
        at += len(local) + count
    end = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 0x31e, 45, 0, 0, len(records), len(records), len(directory), at)
    end += struct.pack("<IIQI", 0x07064b50, 0, at + len(directory), 1)
    end += struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, min(len(records), 0xffff), min(len(records), 0xffff), len(directory), 0xffffffff, 0)
    blocks.append((at, directory + end))
    total = at + len(directory) + len(end)

    config = f"precision: bf16\nhidden_size: 1024\noptim:\n  lr: 1e-4\ntokenizer:\n  model: nemo:{SPM}\n".encode()
    with open(path, "wb") as file:
        def member(name, count):
            info = tarfile.TarInfo("./" + name)
            info.size = count
            file.write(info.tobuf(tarfile.PAX_FORMAT))
            return file.tell()
        for name, content in (("model_config.yaml", config), ("model_weights.ckpt", None), (SPM, b"s" * 1_000_000)):
            count = total if content is None else len(content)
            start = member(name, count)
            for offset, block in blocks if content is None else [(0, content)]:
                file.seek(start + offset)
                file.write(block)
            file.seek(start + (count + 511) // 512 * 512)
        file.write(b"\0" * 1024)
        file.truncate((file.tell() + 10239) // 10240 * 10240)


def bench_lazy(args, work):
    path, folder = os.path.join(work, "big.nemo"), os.path.join(work, "out")
    sparse_nemo(path, args.gigabytes * 10 ** 9)
    rows = []
    for what, argv, bound in (("the cost of a process: `anemone --version`", ["--version"], None),
                              ("one config value: `inspect --config optim.lr`", ["inspect", path, "--config", "optim.lr"], 20),
                              ("one artifact: `extract` of a member behind the weights", ["extract", path, folder, "--member", SPM, "--force", "-q"], 20),
                              ("all headers: `inspect`", ["inspect", path], 50)):
        times = [measure.run([args.anemone] + argv) for _ in range(21)]
        median = measure.median([s for s, _ in times]) * 1000
        memory = max(m for _, m in times) / 1024
        rows.append((f"{what} ({os.path.getsize(path) / 1e9:.0f} GB)", f"{median:.1f} ms, {memory:.0f} MiB", f"≤ {bound} ms" if bound else "",
                     measure.within(median, bound) if bound else ""))
    assert os.path.getsize(os.path.join(folder, SPM)) == 1_000_000
    return rows


def bench_verify(args, work):
    hf, nemo = os.path.join(work, "hf"), os.path.join(work, "x.nemo")
    measure.run([os.path.join(args.tools, "make_checkpoint"), args.model, hf, "--tokenizer", measure.DEMO])
    measure.run([args.anemone, "convert", hf, nemo, "-q"])
    shutil.rmtree(hf)
    rows = []
    for state in ("warm", "cold"):
        def cool():
            if state == "cold":
                with open(nemo, "rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        def cat():
            cool()
            return measure.run(["cat", nemo])

        def verify():
            cool()
            return measure.run([args.anemone, "verify", nemo])
        seconds, peaks = compete({"cat": (cat, None), "anemone verify": (verify, None)}, args.rounds, [nemo])
        med = {n: measure.median(s) for n, s in seconds.items()}
        ratio = med["anemone verify"] / med["cat"]
        rows += [(f"`cat` of {os.path.getsize(nemo) / 1e9:.2f} GB, {state}", f"{med['cat']:.2f} s ({measure.spread(seconds['cat'])})", "", ""),
                 (f"`anemone verify`, {state}", f"{med['anemone verify']:.2f} s, {peaks['anemone verify'] / 1024:.0f} MiB", "", ""),
                 ("verify / cat", f"{ratio:.2f}×", "≤ 1.1×" if state == "cold" else "", measure.within(ratio, 1.1) if state == "cold" else "")]
    return rows


PARTS = {"ckpt": bench_ckpt, "merge": bench_merge, "lazy": bench_lazy, "verify": bench_verify}


def main():
    parser = measure.arguments(__doc__, tools=())
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--tools", required=True, help="the folder of make_checkpoint and make_lightning")
    parser.add_argument("--model", default="ViT-L-14")
    parser.add_argument("--merge-model", default="ViT-bigG-14")
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--gigabytes", type=int, default=100)
    args = parser.parse_args()
    rows = []
    for name, part in PARTS.items():
        if args.part in (name, "all"):
            with measure.folder(args.work) as work:
                rows += part(args, work)
    print(measure.machine() + "\n")
    measure.table(rows)
    measure.write_json(args.json, {"machine": measure.machine(), "rows": rows})


if __name__ == "__main__":
    main()
