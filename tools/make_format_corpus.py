#!/usr/bin/env python3
"""Fills fuzz/corpus/{safetensors,torch_file,nemo} with small files: golden ones, and ones made here.

usage: make_format_corpus.py GOLDEN_DIR CORPUS_DIR
"""
import gzip
import io
import pathlib
import shutil
import struct
import sys
import tarfile

golden, corpus = map(pathlib.Path, sys.argv[1:])
for name in ("safetensors", "torch_file", "nemo"):
    (corpus / name).mkdir(parents=True, exist_ok=True)

TORCH = ["views", "dtypes_untyped_storage", "extra_state", "containers_legacy", "parameters", "parameters_legacy", "numpy",
         "protocol4_legacy", "big_endian", "deflated", "torchscript", "sparse", "hostile_os_system", "hostile_lying_storage",
         "hostile_negative_stride", "hostile_billion_laughs", "lightning"]
for name in TORCH:
    shutil.copyfile(golden / "torch/2.15" / f"{name}.pt", corpus / "torch_file" / f"{name}.pt")


def safetensors(name, header, buffer=b""):
    (corpus / "safetensors" / name).write_bytes(struct.pack("<Q", len(header)) + header + buffer)


safetensors("empty", b"{}")
safetensors("one", b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}} ', b"\0\x3c\0\xc0")
safetensors("two", b'{"b":{"dtype":"U8","shape":[],"data_offsets":[8,9]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"12345678x")
safetensors("overlap", b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}', b"123456")
safetensors("overflow", b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}')
safetensors("path", b'{"../a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')
(corpus / "safetensors" / "giant").write_bytes(b"\xff" * 7 + b"\x7f{}")


def nemo(members, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 0.5 if format == tarfile.PAX_FORMAT else 0
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


weights = (golden / "torch/2.15/root_of_another_name.pt").read_bytes()
config = b"tokenizer:\n  model: nemo:abc_spm.model\ntensor_model_parallel_size: 2\n"
single = [("./model_config.yaml", config), ("./model_weights.ckpt", weights), ("./abc_spm.model", b"x")]
ranks = [("model_config.yaml", config)] + [(f"mp_rank_0{i}/model_weights.ckpt", weights) for i in range(2)]
files = {
    "single": nemo(single),
    "gnu": nemo(single, tarfile.GNU_FORMAT),
    "ranks": nemo(ranks),
    "rank_missing": nemo([m for m in ranks if "00" not in m[0]]),
    "prefix": nemo([("foo/" + name[2:], data) for name, data in single]),
    "no_weights": nemo(single[:1]),
    "gzip": gzip.compress(nemo(single), mtime=0),
    "gzip_of_text": gzip.compress(b"hello", mtime=0),
    "bare_torch": weights,
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "html": b"<!DOCTYPE html><html>",
    "onnx": b"\x08\x07\x12\x07pytorch",
}
for name, data in files.items():
    (corpus / "nemo" / name).write_bytes(data)
