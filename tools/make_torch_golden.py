#!/usr/bin/env python3
"""Writes the torch files of tests/golden/torch.tar.xz: what torch.save of the running torch makes of awkward tensors.

  /usr/bin/python3 tools/make_torch_golden.py DIR/torch/1.13      # Debian 12's torch 1.13.1
  venv/bin/python tools/make_torch_golden.py DIR/torch/2.15       # a new torch, with omegaconf

Every X.pt has X.safetensors beside it: the same tensors, contiguous, keyed by their dotted path (list items by index), and
X.json: the other values, likewise. Files with neither must be refused; reasons.json says why.
"""

import collections
import io
import json
import os
import struct
import sys
import zipfile

import numpy as np
import torch

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16",
          "int8": "I8", "uint8": "U8", "bool": "BOOL", "uint16": "U16", "uint32": "U32", "uint64": "U64",
          "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64"}

out = ""
reasons = {}


def raw(tensor):
    tensor = tensor.detach().contiguous().clone()
    return bytes(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b""


def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        body = raw(tensor)
        dtype = str(tensor.dtype)[len("torch."):]
        header[name] = {"dtype": DTYPES[dtype], "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def flatten(value, prefix, tensors, plain):
    key = lambda k: f"{prefix}.{k}" if prefix else str(k)
    if isinstance(value, torch.Tensor):
        tensors[prefix] = value
    elif isinstance(value, dict):
        for k, v in value.items():
            flatten(v, key(k), tensors, plain)
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            flatten(v, key(i), tensors, plain)
    elif isinstance(value, bytes):
        plain[prefix] = {"bytes": value.hex()}
    else:
        plain[prefix] = value


def expect(name, value):
    tensors, plain = {}, {}
    flatten(value, "", tensors, plain)
    write_safetensors(os.path.join(out, name + ".safetensors"), tensors)
    with open(os.path.join(out, name + ".json"), "w") as file:
        json.dump(plain, file, indent=1)


def save(name, value, expected=None, legacy_too=True, **options):
    torch.save(value, os.path.join(out, name + ".pt"), **options)
    expect(name, value if expected is None else expected)
    if legacy_too:
        torch.save(value, os.path.join(out, name + "_legacy.pt"), _use_new_zipfile_serialization=False, **options)
        expect(name + "_legacy", value if expected is None else expected)


def refuse(name, reason, body=None):
    reasons[name] = reason
    if body is not None:
        with open(os.path.join(out, name + ".pt"), "wb") as file:
            file.write(body)


def pattern(shape, dtype, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g).to(dtype) if dtype.is_floating_point else torch.randint(0, 100, shape, generator=g).to(dtype)


def dtypes():
    state = {}
    for name in ("float64", "float32", "float16", "bfloat16"):
        state[name] = pattern((3, 5), getattr(torch, name), 1)
        special = torch.tensor([0.0, -0.0, 1.0, -1.0, 65504.0, 1e-7, 5.9e-8, 3.0e38, float("inf"), -float("inf"), float("nan"),
                                1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -8, 1e-40], dtype=torch.float64)
        state[name + "_special"] = special.to(getattr(torch, name))
    for name, low, high in (("int64", -2 ** 63, 2 ** 63 - 1), ("int32", -2 ** 31, 2 ** 31 - 1), ("int16", -2 ** 15, 2 ** 15 - 1),
                            ("int8", -128, 127), ("uint8", 0, 255)):
        state[name] = torch.tensor([low, high, 0, 1, 7], dtype=getattr(torch, name))
    state["bool"] = torch.tensor([[True, False, True], [False, False, True]])
    save("dtypes", state)
    new = {}
    for name in ("uint16", "uint32", "uint64"):
        if hasattr(torch, name):
            new[name] = torch.arange(6, dtype=torch.int32).to(getattr(torch, name)).reshape(2, 3)
    for name in ("float8_e4m3fn", "float8_e5m2"):
        if hasattr(torch, name):
            new[name] = pattern((4, 3), torch.float32, 2).to(getattr(torch, name))
    if new:
        save("dtypes_untyped_storage", new, legacy_too=False)  # torch cannot read its own legacy file of these


def views():
    base = pattern((6, 4), torch.float32, 3)
    big = pattern((2, 3, 4, 5), torch.float16, 4)
    tied = pattern((3, 3), torch.bfloat16, 5)
    flat = pattern((40,), torch.float32, 6)
    save("views", collections.OrderedDict([
        ("base", base), ("transposed", base.t()), ("rows", base[2:5]), ("columns", base[:, 1:3]), ("step", base[::2, ::3]),
        ("diagonal", base.diagonal()), ("broadcast", base[:1].expand(5, 4)), ("broadcast_scalar", torch.tensor(2.5).expand(2, 3)),
        ("permuted", big.permute(3, 1, 0, 2)), ("channels_last", big.contiguous(memory_format=torch.channels_last)),
        ("offset_transposed", big[1, :, 1:3].transpose(0, 2)), ("tied_a", tied), ("tied_b", tied), ("tied_t", tied.t()),
        ("bucket_a", flat[:12].view(3, 4)), ("bucket_b", flat[12:40].view(7, 4)), ("bucket_overlap", flat[8:16]),
        ("unfold", flat.as_strided((5, 6), (3, 1), 4)),
        ("zero_dim", torch.tensor(3.25)), ("zero_dim_view", flat[7]), ("empty", torch.empty(0)), ("empty_3d", torch.empty(3, 0, 2)),
        ("empty_of_storage", flat[40:]), ("one", torch.ones(1, 1, 1)), ("huge_stride_of_one", flat.as_strided((1, 4), (1000, 1), 0)),
        ("small_view_of_large_storage", pattern((5000,), torch.float32, 7)[1234:1240]),
    ]))


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 6)
        self.norm = torch.nn.LayerNorm(6)
        self.fc = torch.nn.Linear(6, 6)
        self.scale = torch.nn.Parameter(torch.tensor(4.6))
        self.register_buffer("ids", torch.arange(5).expand(1, 5))
        self.batch = torch.nn.BatchNorm1d(6)
        self.head = torch.nn.Linear(6, 7, bias=False)
        self.head.weight = self.embed.weight


def modules():
    torch.manual_seed(8)
    tower = Tower()
    save("module", tower.state_dict())  # an OrderedDict with _metadata
    assert tower.state_dict()._metadata
    half = torch.nn.Parameter(pattern((2, 2), torch.float16, 9), requires_grad=False)
    attributed = torch.nn.Parameter(pattern((4, 2), torch.float32, 10))
    attributed.tensor_model_parallel = True
    attributed.partition_dim = 0
    tensor = pattern((3,), torch.float32, 11)
    tensor.note = "Python attributes make _rebuild_from_type_v2"
    save("parameters", {"parameter": torch.nn.Parameter(pattern((2, 3), torch.float32, 12)), "frozen": half,
                        "attributed_parameter": attributed, "attributed_tensor": tensor,
                        "buffer": torch.nn.parameter.Buffer(torch.ones(2)) if hasattr(torch.nn.parameter, "Buffer") else torch.ones(2)})


def nested():
    value = {
        "epoch": 3, "big": 2 ** 40, "huge": 2 ** 70, "negative": -5, "int8": 255, "int16": 65535, "min32": -2 ** 31, "float": 0.1,
        "tiny": 5e-324, "none": None, "yes": True, "no": False, "text": "naïve – 画像 🦊", "empty": "", "bytes": b"\x00\xff\x80",
        "list": [1, [2.5, "x"], {"k": torch.arange(3)}], "tuple": (1, (2, 3), ()), "dict": {"a": {"b": {"c": torch.tensor(1.5)}}},
        "long_list": list(range(1500)), "shape": torch.Size([2, 3]),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": pattern((2, 2), torch.float32, 13)}, 1: {"step": torch.tensor(3.0)}},
                      "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.98), "params": [0, 1]}]},
    }
    save("nested", value)
    save("protocol4", value, pickle_protocol=4)
    save("protocol5", {"w": pattern((2, 2), torch.float32, 14), "b": bytearray(b"abc").hex(), "s": "x" * 300}, pickle_protocol=5)
    many = collections.OrderedDict((f"layers.{i}.weight", torch.full((1,), float(i))) for i in range(1200))
    save("many", many)  # SETITEMS in batches, memo indices above 255


def opaque():
    """Values that only real checkpoints hold."""
    inner = io.BytesIO()
    torch.save(None, inner)
    inner.seek(0, 2)
    state = collections.OrderedDict([("fc.weight", pattern((2, 2), torch.float32, 15)), ("fc._extra_state", inner), ("attn._extra_state", None)])
    save("extra_state", state, expected={"fc.weight": state["fc.weight"], "attn._extra_state": None})
    values = {"f64": np.float64(0.1), "f32": np.float32(1.5), "i64": np.int64(-3), "bool": np.bool_(True)}
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    save("numpy", {**values, "array": array, "w": torch.ones(2)}, expected={**{k: v.item() for k, v in values.items()}, "w": torch.ones(2)})
    default = collections.defaultdict(list)
    default["a"].append(1)
    save("containers", {"defaultdict": default, "counter": collections.Counter("aab"), "device": torch.device("cuda", 0), "dtype": torch.bfloat16,
                        "set": {3}, "w": torch.ones(1)},
         expected={"defaultdict": {"a": [1]}, "counter": {"a": 2, "b": 1}, "w": torch.ones(1)})


def lightning():
    """What Lightning 2.4 writes around an OmegaConf config whose nodes point back at their parents."""
    try:
        from omegaconf import OmegaConf
    except ImportError:
        return
    cfg = OmegaConf.create({"micro_batch_size": 4, "precision": "bf16", "lr": 1.0e-5, "vision": {"patch_dim": 8, "img_h": 32, "img_w": "${.img_h}"},
                            "text": {"layers": [1, 2, "${vision.patch_dim}"], "nothing": None}, "tokenizer": {"type": "openai/clip", "vocab_file": None},
                            "missing": "???", "flag": True})
    state = collections.OrderedDict([("model.w", pattern((3, 2), torch.float32, 16)), ("model._extra_state", None)])
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3, 2), "exp_avg_sq": torch.ones(3, 2)}
    checkpoint = {
        "epoch": 0, "global_step": 3, "pytorch-lightning_version": "2.4.0", "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1, "completed": 0}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5), "dirpath": "/x", "last": None}},
        "optimizer_states": [{"state": {0: moments}, "param_groups": [{"lr": 1e-3, "params": [0]}]}],
        "lr_schedulers": [], "hparams_name": "cfg", "hyper_parameters": {"cfg": cfg}}
    expected = {**checkpoint, "hyper_parameters": {"cfg": OmegaConf.to_container(cfg)}}
    save("lightning", checkpoint, expected=expected)


def boxes():
    """The same content in other boxes."""
    value = {"a": pattern((5, 7), torch.float32, 17), "b": pattern((11,), torch.int64, 18), "half": pattern((3,), torch.bfloat16, 19)}
    memory = io.BytesIO()
    torch.save(value, memory)
    with zipfile.ZipFile(memory) as source:
        members = [(info.filename, source.read(info)) for info in source.infolist()]

    def box(name, members, method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(os.path.join(out, name + ".pt"), "w", method) as target:
            for member, data in members:
                info = zipfile.ZipInfo(member)
                info.compress_type = method
                target.writestr(info, data)

    renamed = lambda root: [(root + "/" + n.split("/", 1)[1], d) for n, d in members]
    box("deflated", members, zipfile.ZIP_DEFLATED)
    box("stored_unaligned", members)  # no data descriptors, no padding
    box("root_of_another_name", renamed("mp_rank_00_model_weights"))
    box("no_byteorder", [(n, d) for n, d in members if not n.endswith("byteorder")])
    box("foreign_records", members + [("archive/.debug_pkl", b"x"), ("archive/extra/note", b"hello")])
    swapped = []
    for n, d in members:
        if "/data/" in n:
            width = {140: 4, 88: 8, 6: 2}[len(d)]
            d = np.frombuffer(d, f"u{width}").byteswap().tobytes()
        swapped.append((n, b"big" if n.endswith("byteorder") else d))
    if not any(n.endswith("byteorder") for n, _ in members):
        swapped.append(("archive/byteorder", b"big"))
    box("big_endian", swapped)
    for name in ("deflated", "stored_unaligned", "root_of_another_name", "no_byteorder", "foreign_records", "big_endian"):
        expect(name, value)

    tag = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    save("cuda_location", value)
    torch.serialization.location_tag = tag

    body = memory.getvalue()
    at = body.index(raw(value["a"]))
    refuse("wrong_crc", "a storage's bytes do not match its CRC-32 (a warning or an error, never silent under verify)",
           body[:at] + bytes([body[at] ^ 1]) + body[at + 1:])
    refuse("truncated", "the end of the archive is missing", body[:len(body) // 2])
    box("missing_version", [(n, d) for n, d in members if not n.endswith("/version")])
    refuse("missing_version", "torch itself refuses an archive without its version record")
    box("missing_storage", [(n, d) for n, d in members if not n.endswith("data/1")])
    refuse("missing_storage", "data/1 is not in the archive")
    box("short_storage", [(n, d[:-4] if n.endswith("data/0") else d) for n, d in members])
    refuse("short_storage", "data/0 is four bytes shorter than its pickle says")


class Name:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Storage:
    def __init__(self, kind, key, numel):
        self.fields = ("storage", Name("torch", kind), key, "cpu", numel)


class Call:
    def __init__(self, name, *args):
        self.name, self.args = name, args


def pickled(value):
    """A pickle made by hand, so that it may lie."""
    def emit(v):
        if isinstance(v, Name):
            return b"c" + v.module.encode() + b"\n" + v.name.encode() + b"\n"
        if isinstance(v, Storage):
            return emit(v.fields) + b"Q"
        if isinstance(v, Call):
            return emit(v.name) + emit(v.args) + b"R"
        if isinstance(v, dict):
            return b"}(" + b"".join(emit(k) + emit(x) for k, x in v.items()) + b"u"
        if isinstance(v, tuple):
            return b"(" + b"".join(emit(x) for x in v) + b"t"
        if isinstance(v, bool):
            return b"\x88" if v else b"\x89"
        if isinstance(v, int):
            return b"J" + struct.pack("<i", v)
        if isinstance(v, str):
            return b"X" + struct.pack("<I", len(v.encode())) + v.encode()
        raise TypeError(v)
    return b"\x80\x02" + emit(value) + b"."


def hostile():
    def archive(name, reason, data_pkl, storages=(b"\0" * 24,)):
        with zipfile.ZipFile(os.path.join(out, name + ".pt"), "w") as target:
            target.writestr(zipfile.ZipInfo("archive/data.pkl"), data_pkl)
            for i, s in enumerate(storages):
                target.writestr(zipfile.ZipInfo(f"archive/data/{i}"), s)
            target.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
        refuse(name, reason)

    rebuild, ordered = Name("torch._utils", "_rebuild_tensor_v2"), Call(Name("collections", "OrderedDict"))
    tensor = lambda storage, offset, size, stride: Call(rebuild, storage, offset, size, stride, False, ordered)
    storage = Storage("FloatStorage", "0", 6)
    archive("hostile_os_system", "calls os.system", pickled({"w": Call(Name("os", "system"), "touch pwned")}))
    archive("hostile_eval", "calls builtins.eval", pickled({"w": Call(Name("__builtin__", "eval"), "1")}))
    archive("hostile_storage_out_of_range", "a tensor reaches past its storage", pickled({"w": tensor(storage, 4, (4,), (1,))}))
    archive("hostile_negative_stride", "a negative stride", pickled({"w": tensor(storage, 5, (6,), (-1,))}))
    archive("hostile_negative_size", "a negative size", pickled({"w": tensor(storage, 0, (-6,), (1,))}))
    archive("hostile_negative_offset", "a negative offset", pickled({"w": tensor(storage, -1, (6,), (1,))}))
    archive("hostile_rank_mismatch", "sizes and strides of different rank", pickled({"w": tensor(storage, 0, (2, 3), (1,))}))
    archive("hostile_overflow", "sizes whose product overflows", pickled({"w": tensor(storage, 0, (2 ** 31 - 1,) * 4, (2 ** 31 - 1,) * 4)}))
    archive("hostile_lying_storage", "a storage of more elements than its record", pickled({"w": tensor(Storage("FloatStorage", "0", 2 ** 30), 0, (6,), (1,))}))
    archive("hostile_storage_path", "a storage key that leaves data/", pickled({"w": tensor(Storage("FloatStorage", "../version", 6), 0, (1,), (1,))}))
    archive("hostile_unknown_storage", "a storage type nobody knows", pickled({"w": tensor(Storage("EvilStorage", "0", 6), 0, (1,), (1,))}))
    archive("hostile_list_of_2_31", "a string longer than the file", b"\x80\x02X\xff\xff\xff\x7fabc.")
    archive("hostile_memo", "a memo entry nobody put", b"\x80\x02h\x05.")
    archive("hostile_stack_underflow", "an empty stack", b"\x80\x02R.")
    archive("hostile_no_stop", "no STOP", b"\x80\x02}")
    archive("hostile_deep", "100,000 nested tuples", b"\x80\x02" + b"(" * 100000 + b"t" * 100000 + b".")
    archive("hostile_billion_laughs", "a list doubled 64 times through the memo",
            b"\x80\x02]q\x00" + b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"l" + b"q" + bytes([i + 1]) for i in range(64)) + b".")
    refuse("hostile_pickle_alone", "a pickle that is no torch file", pickled({"w": 1}))


def unsupported():
    torch.save({"w": torch.eye(3).to_sparse()}, os.path.join(out, "sparse.pt"))
    refuse("sparse", "a sparse tensor")
    torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, os.path.join(out, "quantized.pt"))
    refuse("quantized", "a quantised tensor")
    torch.save({"w": torch.empty(3, device="meta")}, os.path.join(out, "meta.pt"))
    refuse("meta", "a tensor without data")
    torch.save({"w": torch.tensor([1 + 2j]).conj()}, os.path.join(out, "conjugate.pt"))
    refuse("conjugate", "a complex tensor seen conjugated")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    torch.jit.save(torch.jit.script(module), os.path.join(out, "torchscript.pt"))
    refuse("torchscript", "an archive with code (its tensors are data, its code is not run)")


def main():
    global out
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for make in (dtypes, views, modules, nested, opaque, lightning, boxes, hostile, unsupported):
        make()
    with open(os.path.join(out, "reasons.json"), "w") as file:
        json.dump(reasons, file, indent=1)
    print(f"torch {torch.__version__}: {len([f for f in os.listdir(out) if f.endswith('.pt')])} files")


if __name__ == "__main__":
    main()
