#!/usr/bin/env python3
"""Fills fuzz/corpus/{folder,clip_files,rows,journal,command,hub} with small folders as fuzz/folder.h reads them: a tiny CLIP and
GPT in every format that the program writes, and golden files of NeMo's.

usage: make_folder_corpus.py ANEMONE GOLDEN_DIR CORPUS_DIR
"""
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ANEMONE, GOLDEN, CORPUS = (pathlib.Path(path).resolve() for path in sys.argv[1:4])


def record(name, content):
    """One file, its long runs of zeros by their number."""
    return f"--- {name}\n".encode() + re.sub(rb"\0{24,}", lambda zeros: b"@0:%d;" % len(zeros[0]), content)


def seed(target, name, files):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"\n".join(record(*file) for file in files))


def files_below(folder, rename=lambda name: name):
    return [(rename(str(path.relative_to(folder))), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]


def safetensors(shapes):
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4
        for dim in shape:
            size *= dim
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def tiny_clip(siglip=False):
    width, layers, vocab, context, patch, image, ffn = 8, 1, 9, 4, 2, 4, 8
    shapes = {"logit_scale": []}
    for tower in ("text", "vision"):
        model = f"{tower}_model."
        for layer in range(layers):
            block = f"{model}encoder.layers.{layer}."
            for linear, (rows, columns) in {**{f"self_attn.{p}_proj": (width, width) for p in ("q", "k", "v", "out")},
                                            "mlp.fc1": (ffn, width), "mlp.fc2": (width, ffn)}.items():
                shapes |= {f"{block}{linear}.weight": [rows, columns], f"{block}{linear}.bias": [rows]}
            for norm in ("layer_norm1", "layer_norm2"):
                shapes |= {f"{block}{norm}.weight": [width], f"{block}{norm}.bias": [width]}
        if not siglip:
            shapes[f"{tower if tower == 'text' else 'visual'}_projection.weight"] = [width, width]
    for norm in ("text_model.final_layer_norm", "vision_model.post_layernorm", "vision_model.head.layernorm" if siglip else "vision_model.pre_layrnorm"):
        shapes |= {f"{norm}.weight": [width], f"{norm}.bias": [width]}
    shapes |= {"text_model.embeddings.token_embedding.weight": [vocab, width],
               "text_model.embeddings.position_embedding.weight": [context, width],
               "vision_model.embeddings.patch_embedding.weight": [width, 3, patch, patch],
               "vision_model.embeddings.position_embedding.weight": [(image // patch) ** 2 + (0 if siglip else 1), width]}
    if siglip:
        head = "vision_model.head."
        shapes |= {"logit_bias": [1], "logit_scale": [1], "text_model.head.weight": [width, width], "text_model.head.bias": [width],
                   "vision_model.embeddings.patch_embedding.bias": [width], head + "probe": [1, 1, width],
                   head + "attention.in_proj_weight": [3 * width, width], head + "attention.in_proj_bias": [3 * width],
                   head + "attention.out_proj.weight": [width, width], head + "attention.out_proj.bias": [width],
                   head + "mlp.fc1.weight": [ffn, width], head + "mlp.fc1.bias": [ffn], head + "mlp.fc2.weight": [width, ffn],
                   head + "mlp.fc2.bias": [width]}
    else:
        shapes["vision_model.embeddings.class_embedding"] = [width]
    tower = {"hidden_size": width, "intermediate_size": ffn, "num_attention_heads": 2, "num_hidden_layers": layers}
    kind = ("siglip", "SiglipModel") if siglip else ("clip", "CLIPModel")
    config = {"model_type": kind[0], "architectures": [kind[1]], "projection_dim": width,
              "text_config": tower | {"vocab_size": vocab, "max_position_embeddings": context, "eos_token_id": 2},
              "vision_config": tower | {"image_size": image, "patch_size": patch}}
    return [("config.json", json.dumps(config).encode()), ("model.safetensors", safetensors(shapes))]


VOCAB = {"<|startoftext|>": 0, "<|endoftext|>": 1, "l": 2, "o": 3, "w</w>": 4, "lo": 5, "low</w>": 6, "l</w>": 7, "ol</w>": 8}
MERGES = "#version: 0.2\nl o\nlo w</w>\no l</w>\n"
TOKENIZER = {
    "vocab.json": json.dumps(VOCAB), "merges.txt": MERGES,
    "tokenizer_config.json": json.dumps({"tokenizer_class": "CLIPTokenizer", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
                                         "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "model_max_length": 4,
                                         "do_lower_case": True, "add_prefix_space": False, "errors": "replace",
                                         "added_tokens_decoder": {"0": {"content": "<|startoftext|>", "special": True}}}),
    "special_tokens_map.json": json.dumps({"bos_token": {"content": "<|startoftext|>", "normalized": True}, "eos_token": "<|endoftext|>"}),
}
TOKENIZER_JSON = json.dumps({"version": "1.0", "added_tokens": [{"id": 1, "content": "<|endoftext|>", "special": True}],
"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": VOCAB, "merges": MERGES.split("\n")[1:4]}})
PREPROCESSOR = json.dumps({"image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 4}, "resample": 3,
                           "do_center_crop": True, "crop_size": {"height": 4, "width": 4}, "do_rescale": True, "rescale_factor": 1 / 255,
                           "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_convert_rgb": True})


def texts(files):
    return [(name, content.encode()) for name, content in files.items()]


def write_clips(scratch):
    clip = tiny_clip()
    source = scratch / "clip"
    source.mkdir()
    for name, content in clip + texts(TOKENIZER) + texts({"preprocessor_config.json": PREPROCESSOR}):
        (source / name).write_bytes(content)
    seed("folder", "huggingface", clip)
    seed("folder", "huggingface_shards", [clip[0], ("model.safetensors.index.json", json.dumps({"weight_map": {"a": "s1", "b": "s2"}}).encode()),
                                          ("s1", safetensors({"a": [2, 2]})), ("s2", safetensors({"b": [3]}))])
    module = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    seed("folder", "peft", [("adapter_config.json", json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
                                                                "alpha_pattern": {"k_proj": 3}}).encode()),
                            ("adapter_model.safetensors", safetensors({f"{module}A.weight": [2, 4], f"{module}B.weight": [4, 2]}))])
    for name, words in {"nemo": ["--to", "nemo"], "nemo_tp2": ["--to", "nemo", "--tp", "2"], "nemo_pp2": ["--to", "nemo", "--dialect", "legacy"],
                        "torch_dist": ["--to", "torch_dist"], "openclip": ["--to", "openclip"],
                        "sharded": ["--to", "huggingface", "--max-shard-size", "2000"]}.items():
        target = scratch / name
        done = subprocess.run([ANEMONE, "convert", source, target, "--no-strict", *words], capture_output=True, text=True)
        if done.returncode != 0:
            print(name, done.stderr.strip())
            continue
        if target.is_file() and "nemo" in name:
            (scratch / f"{name}.d").mkdir()
            subprocess.run(["tar", "xf", target, "-C", scratch / f"{name}.d"], check=True)
            target = scratch / f"{name}.d"
        seed("folder", name, files_below(target) if target.is_dir() else [(f"{name}.bin", target.read_bytes())])

    both = clip + texts({"preprocessor_config.json": PREPROCESSOR})
    seed("clip_files", "slow_tokenizer", both + texts(TOKENIZER) + [("text", b"Low  lol\xc3\xa9 <|endoftext|>")])
    seed("clip_files", "fast_tokenizer", both + texts({"tokenizer.json": TOKENIZER_JSON}))
    seed("clip_files", "old_preprocessor", clip + texts(TOKENIZER) + texts({"preprocessor_config.json": json.dumps(
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 4, "crop_size": 4, "do_normalize": True, "image_mean": [0, 0, 0],
         "image_std": [1, 1, 1], "resample": 2})}))
    seed("clip_files", "processor", clip + texts(TOKENIZER) + texts({"processor_config.json": json.dumps(
        {"processor_class": "CLIPProcessor", "image_processor": json.loads(PREPROCESSOR)})}))
    siglip = tiny_clip(siglip=True) + texts({"preprocessor_config.json": PREPROCESSOR.replace("CLIP", "Siglip")})
    for path in sorted((CORPUS / "sentencepiece").iterdir()):
        name = "tokenizer.json" if "json" in path.name else "spiece.model"
        seed("clip_files", f"siglip_{path.name}", siglip + [(name, path.read_bytes().partition(b"\xff\xff")[0]), ("text", b"low lower")])


def write_dist():
    for flavour in ("torch_dist", "zarr"):
        seed("folder", f"mcore_{flavour}", files_below(GOLDEN / "dist" / f"mcore_direct_{flavour}"))
    target = b"model: {_target_: megatron.bridge.models.gpt_provider.GPTModelProvider}\n"
    chunks = files_below(GOLDEN / "dist" / "mcore_direct_torch_dist", lambda name: f"iter_0000001/{name}")
    seed("folder", "megatron_bridge", [("latest_checkpointed_iteration.txt", b"1"), ("iter_0000001/run_config.yaml", target), *chunks])
    states = (GOLDEN / "torch/2.15/views.pt").read_bytes()
    seed("folder", "deepspeed", [("latest", b"step1"), ("zero_to_fp32.py", b""), ("step1/mp_rank_00_model_states.pt", states)])
    nemo2 = GOLDEN / "dist" / "nemo2_llama" / "nemo"
    wanted = ("context/model.yaml", "weights/.metadata", "weights/common.pt", "weights/metadata.json")
    shards = []
    for name in ("__0_0.distcp", "__0_1.distcp"):  # each tensor in a zip of its own, of which the middle becomes zeros
        content = (nemo2 / "weights" / name).read_bytes()
        shards.append(("weights/" + name, re.sub(rb"(?s)(PK\x03\x04.{1200})(.{2000,}?)(.{1200}PK\x05\x06)",
                                                 lambda zip: zip[1] + bytes(len(zip[2])) + zip[3], content)))
    seed("folder", "nemo2", [(name, (nemo2 / name).read_bytes()) for name in wanted] + shards)
    io = json.loads((nemo2 / "context" / "io.json").read_text())
    seed("folder", "nemo2_io", [("context/io.json", json.dumps(io, separators=(",", ":")).encode())] +
         [(name, (nemo2 / name).read_bytes()) for name in wanted[1:]] + shards)


def write_rows():
    for family, path in (("clip", GOLDEN / "clip" / "hparams.yaml"), ("siglip", GOLDEN / "siglip" / "megatron_siglip.yaml"),
                         ("gpt", GOLDEN / "gpt_vp" / "hparams.yaml"), ("gpt", GOLDEN / "gpt_mcore_dist_optim" / "hparams.yaml")):
        seed("rows", f"{family}_{path.parent.name}", [(f"{family}.yaml", path.read_bytes())])
    small = "num_layers: 2\nhidden_size: 8\nffn_hidden_size: 16\nnum_attention_heads: 2\nmax_position_embeddings: 4\nvocab_size: 9\n"
    seed("rows", "gpt_small", [("gpt.yaml", (small + "mcore_gpt: true\nnormalization: rmsnorm\nactivation: swiglu\nnum_query_groups: 1\n"
                                             "position_embedding_type: rope\nshare_embeddings_and_output_weights: false\nbias: false\n").encode())])
    seed("rows", "gpt_experts", [("gpt.yaml", (small + "mcore_gpt: true\nnum_moe_experts: 2\nmoe_grouped_gemm: true\n").encode())])
    seed("rows", "t5_small", [("t5.yaml", ("encoder:\n  " + small.replace("\n", "\n  ") + "\ndecoder:\n  " + small.replace("\n", "\n  ") +
                                           "\nvocab_size: 9\nmax_position_embeddings: 4\n").encode())])
    table = """prefixes: ["model."]
rows:
- {name: embedding.word_embeddings.weight, split: vocabulary, stage: first}
- {name: "layers.{i}.mlp.linear_fc1.weight", split: gate and up}
- {name: "layers.{i}.mlp.linear_fc2.weight", split: rows}
- {name: "layers.{i}.qkv.weight", split: columns}
- {name: "layers.{i}._extra_state", opaque: true}
- {name: final_norm.weight, stage: last}
"""
    names = ("model.embedding.word_embeddings.weight 12 4\n" +
             "".join(f"model.layers.{i}.mlp.linear_fc1.weight 24 4\nmodel.layers.{i}.mlp.linear_fc2.weight 4 12\nmodel.layers.{i}.qkv.weight 12 4\n"
                     for i in range(6)) + "model.final_norm.weight 4\n")
    for size in range(6):  # its length chooses how many ranks there are
        seed("rows", f"table_{size}", [("table.yaml", table.encode() + b"#" * size), ("names", names.encode())])


def write_journals():
    work = ".out.anemone-resume/"
    whole = [(work + "output/a", bytes(10008)), (work + "output/weights/b", bytes(10008))]
    seed("journal", "begun", [(work + "journal", b"@JOURNAL@")])
    seed("journal", "some", [(work + "journal", b"@JOURNAL@"), (work + "done.0", b"@ 0 1 0=1234abcd\n@ 3 1=00000001\n")] + whole)
    seed("journal", "ranks", [(work + "journal", b"@JOURNAL@"), (work + "done.0", b"@ 0\n"), (work + "done.1", b"@ 1 2 0=ffffffff\n")] + whole)
    seed("journal", "cut", [(work + "journal", b"@JOURNAL@"), (work + "done.0", b"@ 0 1 2\n00000000 3")] + whole)
    seed("journal", "another", [(work + "journal", b"anemone journal 1\nplan 00\nwindows 6 of 4096\nsource 10 5.000000001 x\nend\n")] + whole)
    seed("journal", "short", [(work + "journal", b"@JOURNAL@"), (work + "done.0", b"@ 0 3\n"), (work + "output/a", b"x")])


def write_commands():
    clip = tiny_clip()
    lines = {
        "clip_hf": "convert_clip_hf_to_nemo.py\n--input_name_or_path\nclip\n--output_path=o.nemo\n--tensor_model_parallel_size\n2",
        "clip_external": "convert_external_clip_to_nemo.py\n--arch\nclip\n--version=huggingface\n--nemo_file_path=o.nemo\n--hparams_file\nh.yaml",
        "partitions": "megatron_change_num_partitions.py\n--model_file\na.nemo\n--target_file=b.nemo\n--target_tensor_model_parallel_size=2\n"
                      "--target_pipeline_model_parallel_size\n1\n--precision=bf16",
        "ckpt": "convert_ckpt_to_nemo.py\n--checkpoint_folder\nclip\n--checkpoint_name=a.ckpt\n--nemo_file_path\no.nemo\n--model_type\nmegatron_clip",
        "infer": "megatron_clip_infer.py\nmodel.restore_from_path=clip\nimage_path=x.png\ntexts=[a, 'b c']\ntrainer.precision=32\n+x.y={a: 1}\n~cfg.z",
        "hydra": "megatron_clip_infer.py\n-cp\nconf\n-cn\nh\n--config-dir\n.\nmodel.micro_batch_size=${a}",
        "help": "--help", "unknown": "convert_nothing.py\n--x=1",
    }
    for name, words in lines.items():
        seed("command", name, [("words", words.encode()), ("h.yaml", b"model:\n  precision: 16\n  target: x\n")] +
             [("clip/" + file, content) for file, content in clip])


def answer(status, headers=(), body=b""):
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def write_hubs():
    commit = "0123456789abcdef0123456789abcdef01234567"
    files = {"config.json": b'{"model_type":"clip"}', "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}
    api = json.dumps({"id": "org/name", "sha": commit, "siblings": [{"rfilename": name} for name in files]}).encode()
    answers = [answer("200 OK", ["Content-Type: application/json"], api)]
    for name, content in files.items():
        etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        headers = [f'ETag: "{etag}"', f"X-Repo-Commit: {commit}", "Accept-Ranges: bytes"]
        head = "\r\n".join(["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(content)}", "", ""]).encode()
        answers += [head, answer("200 OK", headers, content)]
    named = [(f"answer{i}", content) for i, content in enumerate(answers)]
    cache = "models--org--name/"
    seed("hub", "plain", named)
    seed("hub", "cached", named + [(cache + "refs/main", commit.encode()), (cache + f"snapshots/{commit}/config.json", files["config.json"])])
    seed("hub", "moved", [("answer", answer("307 Temporary Redirect", ["Location: /api/models/org/other/revision/main"]))] + named)
    seed("hub", "elsewhere", named[:1] + [("answer", answer("302 Found", ["Location: http://localhost:@PORT@/x", 'X-Linked-Etag: "ab"',
                                                                          "X-Linked-Size: 10", f"X-Repo-Commit: {commit}"]))] + named[2:])
    seed("hub", "busy", [("answer", answer("503 Service Unavailable", ["Retry-After: 0"])), ("answer", answer("429 Too Many", ['ratelimit: "api";r=0;t=1']))] + named)
    seed("hub", "gated", [("answer", answer("401 Unauthorized", ["X-Error-Code: GatedRepo", "X-Error-Message: log in"], b'{"error":"x"}'))])
    seed("hub", "no_http", [("answer", b"220 ready\r\n")])
    seed("hub", "chunked", [("answer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(api) + api + b"\r\n0\r\n\r\n")] + named[1:])
    seed("hub", "partial", named[:4] + [("answer", answer("206 Partial Content", ["Content-Range: bytes 5-9/10"], b"{}{}}"))])


with tempfile.TemporaryDirectory() as made:
    write_clips(pathlib.Path(made))
write_dist()
write_rows()
write_journals()
write_commands()
write_hubs()
