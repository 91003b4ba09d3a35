#!/usr/bin/env python3
"""Measures the memory that one more tensor, file, rank or chunk takes, and the time.

  bench/memory.py --anemone build/release/anemone --work DIR [--only WORD …] [--json FILE]

Each command runs over a small and a large source of a kind. The difference of their peak resident sets, divided by the difference of their
counts, is the figure: KiB for each tensor, whose name of 30 bytes counts, or for each file, rank or chunk. The processor times of both tell
what grows faster than its source. The kinds `pt`, `legacy`, `torch_dist` and `zarr` are written by torch, which the Python that runs this must have. DIR needs 1 GB
and 500,000 inodes.
"""

import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import measure

BOUND = 1 + 30 / 1024  # KiB for a tensor and its name


def name(i):
    return f"model.part.{i:07d}.some.weight"


def tensors(count):
    import torch
    return {name(i): torch.full((2, 2), float(i)) for i in range(count)}


def write_safetensors(path, shapes):
    """`shapes` by name, of fp32 tensors of zeros."""
    header, end = {}, 0
    for key, shape in shapes.items():
        begin, end = end, end + 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[key] = dict(dtype="F32", shape=shape, data_offsets=[begin, end])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + end)


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


def make_safetensors(path, count, anemone):
    write_safetensors(path, {name(i): (2, 2) for i in range(count)})


def make_pt(path, count, anemone):
    import torch
    torch.save(tensors(count), path)


def make_legacy(path, count, anemone):
    """As torch saved until 1.6: pickles one after another, then the storages."""
    import torch
    torch.save(tensors(count), path, _use_new_zipfile_serialization=False)


def make_torch_dist(path, count, anemone):
    import torch.distributed.checkpoint as dcp
    dcp.save(tensors(count), checkpoint_id=path, no_dist=True)


def make_zarr(path, count, anemone):
    import torch
    os.mkdir(path)
    write_json(os.path.join(path, "metadata.json"),
               dict(sharded_backend="zarr", sharded_backend_version=1, common_backend="torch", common_backend_version=1))
    torch.save({}, os.path.join(path, "common.pt"))
    header = dict(chunks=[2, 2], compressor=None, dtype="<f4", fill_value=None, filters=None, order="C", shape=[2, 2], zarr_format=2)
    for i in range(count):
        folder = os.path.join(path, name(i))
        os.mkdir(folder)
        write_json(os.path.join(folder, ".zarray"), header)
        with open(os.path.join(folder, "0.0"), "wb") as file:
            file.write(bytes(16))


LLAMA = 9  # tensors a layer


def make_llama(path, count, anemone):
    """A Hugging Face folder of a Llama of as many layers as it takes."""
    os.mkdir(path)
    layers = count // LLAMA
    write_json(os.path.join(path, "config.json"), dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=2, hidden_act="silu", max_position_embeddings=16, rms_norm_eps=1e-5, rope_theta=10000.0,
        tie_word_embeddings=False, attention_bias=False, mlp_bias=False, torch_dtype="float32"))
    shapes = {"model.embed_tokens.weight": (16, 8), "lm_head.weight": (16, 8), "model.norm.weight": (8,)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (8, 8) for part in "qkvo"}
        shapes |= {f"{at}{norm}layernorm.weight": (8,) for norm in ("input_", "post_attention_")}
        shapes |= {f"{at}mlp.gate_proj.weight": (16, 8), f"{at}mlp.up_proj.weight": (16, 8), f"{at}mlp.down_proj.weight": (8, 16)}
    write_safetensors(os.path.join(path, "model.safetensors"), shapes)


def make_mamba(path, count, anemone):
    """A Hugging Face folder of a Mamba 2, of nine tensors a layer: many are stored in parts by NeMo 2."""
    os.mkdir(path)
    layers = count // 9
    write_json(os.path.join(path, "config.json"), dict(
        architectures=["Mamba2ForCausalLM"], model_type="mamba2", vocab_size=16, hidden_size=8, num_hidden_layers=layers, expand=2, head_dim=4,
        num_heads=4, n_groups=1, state_size=4, conv_kernel=4, chunk_size=256, hidden_act="silu", layer_norm_epsilon=1e-5, residual_in_fp32=True,
        use_bias=False, use_conv_bias=True, tie_word_embeddings=True, dtype="float32"))
    shapes = {"backbone.embeddings.weight": (16, 8), "backbone.norm_f.weight": (8,)}
    for layer in range(layers):
        at = f"backbone.layers.{layer}."
        shapes |= {f"{at}norm.weight": (8,), f"{at}mixer.norm.weight": (16,), f"{at}mixer.in_proj.weight": (44, 8),
                   f"{at}mixer.conv1d.weight": (24, 1, 4), f"{at}mixer.conv1d.bias": (24,), f"{at}mixer.out_proj.weight": (8, 16)}
        shapes |= {f"{at}mixer.{vector}": (4,) for vector in ("A_log", "D", "dt_bias")}
    write_safetensors(os.path.join(path, "model.safetensors"), shapes)


def make_adapted(path, count, anemone):
    """The Llama, and beside it a LoRA of its queries and values: `path`.lora."""
    make_llama(path, count, anemone)
    os.mkdir(path + ".lora")
    write_json(os.path.join(path + ".lora", "adapter_config.json"), dict(
        peft_type="LORA", task_type="CAUSAL_LM", r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], bias="none",
        fan_in_fan_out=False, inference_mode=True))
    shapes = {f"base_model.model.model.layers.{layer}.self_attn.{part}_proj.lora_{side}.weight": (2, 8) if side == "A" else (8, 2)
              for layer in range(count // LLAMA) for part in "qv" for side in "AB"}
    write_safetensors(os.path.join(path + ".lora", "adapter_model.safetensors"), shapes)


def converted(to, *more):
    """Of the same Llama in another format."""
    def make(path, count, anemone):
        make_llama(path + ".hf", count, anemone)
        measure.run([anemone, "convert", path + ".hf", path, "--to", to, *more, "-q"])
        shutil.rmtree(path + ".hf")
    return make


def make_index(path, count, anemone):
    """A folder of many safetensors files, of a tensor each."""
    os.mkdir(path)
    width = 5
    names = [f"model-{i + 1:0{width}d}-of-{count:0{width}d}.safetensors" for i in range(count)]
    for i in range(count):
        write_safetensors(os.path.join(path, names[i]), {name(i): (2, 2)})
    write_json(os.path.join(path, "model.safetensors.index.json"),
               dict(metadata=dict(total_size=16 * count), weight_map={name(i): names[i] for i in range(count)}))


def make_chunks(path, count, anemone):
    """A torch_dist folder of one tensor in so many chunks, of a row each."""
    import io
    import pickle

    import torch
    from torch.distributed.checkpoint import metadata
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    os.mkdir(path)
    item = io.BytesIO()
    torch.save(torch.zeros(1, 4), item)
    size = len(item.getvalue())
    with open(os.path.join(path, "__0_0.distcp"), "wb") as file:
        file.write(item.getvalue() * count)
    chunks = [metadata.ChunkStorageMetadata(torch.Size([i, 0]), torch.Size([1, 4])) for i in range(count)]
    places = {metadata.MetadataIndex("weight", chunk.offsets): _StorageInfo("__0_0.distcp", i * size, size) for i, chunk in enumerate(chunks)}
    tensor = metadata.TensorStorageMetadata(metadata.TensorProperties(torch.float32), torch.Size([count, 4]), chunks)
    with open(os.path.join(path, ".metadata"), "wb") as file:
        pickle.dump(metadata.Metadata({"weight": tensor}, {"weight": ("weight",)}, places), file)


def make_ranks(path, count, anemone):
    """A Lightning folder of a Llama of so many pipeline stages."""
    make_llama(path + ".hf", count * LLAMA, anemone)
    measure.run([anemone, "convert", path + ".hf", path, "--to", "ckpt", "--pp", str(count), "-q"])
    shutil.rmtree(path + ".hf")


INSPECT = ("inspect", ["inspect", "IN"])
LIST = ("inspect --json --tensors", ["inspect", "--json", "--tensors", "IN"])


def convert(to, *more):
    return f"to {to}", ["convert", "IN", "OUT", "--to", to, *more, "-q"]


def reshard(to, *more):
    return f"reshard to {to}, {' '.join(more)}", ["reshard", "IN", "OUT", "--to", to, *more, "-q"]


def average(to):
    return "average, of two", ["average", "IN", "IN", "OUT", "--to", to, "-q"]


PLAN = ("to safetensors, --plan --json", ["convert", "IN", "OUT", "--to", "safetensors", "--plan", "--json"])
VERIFY = ("verify --json", ["verify", "--json", "IN"])
REPORT = ("report", ["report", "IN", "-o", "OUT", "-q"])
DIFF = ("diff --canonical, of two", ["diff", "--canonical", "IN", "IN"])
MOUNT = ("mount, files listed", ["mount", "IN", "DIR", "--foreground"])

THOUSANDS = (50_000, 150_000)
# kind, what is counted, how many, how it is made, commands
KINDS = [
    ("safetensors", "tensor", THOUSANDS, make_safetensors,
     [INSPECT, convert("safetensors"), convert("pt"), convert("lightning"), convert("torch_dist"), LIST, PLAN, VERIFY, REPORT, average("safetensors")]),
    ("pt", "tensor", THOUSANDS, make_pt, [INSPECT, convert("safetensors"), convert("pt"), LIST, average("pt")]),
    ("legacy", "tensor", THOUSANDS, make_legacy, [INSPECT, convert("safetensors"), convert("pt")]),
    ("torch_dist", "tensor", THOUSANDS, make_torch_dist, [INSPECT, convert("safetensors"), convert("torch_dist"), LIST]),
    ("zarr", "tensor", THOUSANDS, make_zarr,
     [INSPECT, convert("safetensors"), convert("torch_dist"), convert("pt"), convert("lightning"), LIST, VERIFY]),
    ("hf", "tensor", THOUSANDS, make_adapted,
     [INSPECT, convert("hf"), convert("megatron"), convert("nemo2"), convert("nemo"), LIST, VERIFY, REPORT, DIFF, average("hf"), MOUNT,
      convert("hf", "--lora", "IN.lora")]),
    ("mamba", "tensor", THOUSANDS, make_mamba, [INSPECT, convert("nemo2"), convert("hf")]),
    ("megatron", "tensor", THOUSANDS, converted("megatron"), [INSPECT, convert("hf"), LIST, average("megatron"), reshard("megatron", "--tp", "2")]),
    ("nemo2", "tensor", THOUSANDS, converted("nemo2"), [INSPECT, convert("hf"), convert("megatron"), LIST, reshard("nemo2", "--tp", "2")]),
    ("ckpt", "tensor", THOUSANDS, converted("lightning"), [INSPECT, convert("hf"), convert("megatron"), convert("nemo"), VERIFY]),
    ("nemo", "tensor", THOUSANDS, converted("nemo"),
     [("edit to another", ["edit", "IN", "-o", "OUT", "--set", "precision=16", "-q"]), average("nemo")]),
    ("files", "file", (2_000, 10_000), make_index, [INSPECT, convert("safetensors")]),
    ("chunks", "chunk", (20_000, 100_000), make_chunks, [INSPECT, convert("safetensors"), ("verify", ["verify", "IN"])]),
    ("ranks", "rank", (500, 2_000), make_ranks, [INSPECT, convert("hf"), ("verify", ["verify", "IN"])]),
]


def mounted(program, words, folder):
    """What a mount has used once every file is listed: it is then asked to end."""
    os.mkdir(folder)
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    while process.poll() is None and not os.path.ismount(folder):
        time.sleep(0.1)
    for path, _, files in os.walk(folder):
        for file in files:
            os.stat(os.path.join(path, file))
    process.send_signal(signal.SIGINT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used


def measured(args, work):
    results = {}
    print("| of | command | KiB for each | bound | | processor time |\n|---|---|---|---|---|---|")
    for kind, unit, counts, make, commands in KINDS:
        if args.only and kind not in args.only:
            continue
        sources = [os.path.join(work, f"{kind}-{count}") for count in counts]
        for source, count in zip(sources, counts):
            maker = multiprocessing.Process(target=make, args=(source, count, args.anemone))  # this process stays small
            maker.start()
            maker.join()
            if maker.exitcode != 0:
                sys.exit(f"{kind}: not made")
        for what, argv in commands:
            runs = []
            for source in sources:
                out = os.path.join(work, "out")
                words = [{"IN": source, "IN.lora": source + ".lora", "OUT": out, "DIR": out}.get(word, word) for word in argv]
                runs.append(mounted(args.anemone, words, out) if argv[0] == "mount" else measure.usage([args.anemone] + words))
                shutil.rmtree(out) if os.path.isdir(out) else os.path.exists(out) and os.remove(out)
            small, large = (used.ru_maxrss for used in runs)
            small_seconds, seconds = (used.ru_utime + used.ru_stime for used in runs)
            figure = (large - small) / (counts[1] - counts[0])
            bound = BOUND if unit == "tensor" else None
            results[f"{kind} {what}"] = dict(kib_each=figure, peak_kib=[small, large], seconds=[small_seconds, seconds])
            print(f"| {counts[1]:,} {unit}s, {kind} | {what} | {figure:.2f} | {f'≤ {bound:.2f}' if bound else ''} "
                  f"| {measure.within(figure, bound) if bound else ''} | {small_seconds:.1f}, {seconds:.1f} s |", flush=True)
        for source in sources:
            shutil.rmtree(source + ".lora", ignore_errors=True)
            shutil.rmtree(source) if os.path.isdir(source) else os.remove(source)
    measure.write_json(args.json, results)


def main():
    parser = measure.arguments(__doc__, tools=())
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        measured(args, work)


if __name__ == "__main__":
    sys.exit(main())
