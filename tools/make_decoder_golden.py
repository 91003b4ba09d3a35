#!/usr/bin/env python3
"""Language models of Hugging Face's and what NeMo v2.0.0's converters made of them, by digests: for each family its source
folder (hf/), nemo.sha256 with a line for each tensor of NeMo's .nemo ("name dtype shape digest"), and hf_back.sha256 with
those of the folder that NeMo's exporter made of it, where it has one.

usage: make_decoder_golden.py OUT.tar.xz FAMILIES [NAME...]
FAMILIES is a folder with NAME/hf, NAME/NAME.nemo, NAME/hf_back. Needs torch 2. Without names: those of decoders.tar.xz;
language-models.tar.xz has bert and llava.
"""
import hashlib
import io
import json
import lzma
import pathlib
import struct
import sys
import tarfile
import tempfile

import torch
import torch.distributed.checkpoint as dcp

NAMES = "llama mistral mixtral qwen2 gemma gemma2 falcon starcoder starcoder2 baichuan2 chatglm".split()
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def line(name: str, dtype: str, shape, data: bytes) -> str:
    return f"{name} {dtype} {','.join(map(str, shape))} {hashlib.sha256(data).hexdigest()}\n"


def of_tensor(name: str, tensor: torch.Tensor) -> str:
    tensor = tensor.contiguous()
    return line(name, DTYPES[str(tensor.dtype)[6:]], tensor.shape, tensor.view(torch.uint8).numpy().tobytes())


def of_safetensors(path: pathlib.Path) -> list[str]:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return [line(name, t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in sorted(header.items())]


def of_nemo(path: pathlib.Path) -> list[str]:
    """The names that each layer and expert has of its own in a file of one rank."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as tar:
            tar.extractall(folder)
        weights = next(pathlib.Path(folder).rglob(".metadata")).parent
        reader = dcp.FileSystemReader(str(weights))
        states = {key: torch.empty(meta.size, dtype=meta.properties.dtype)
                  for key, meta in reader.read_metadata().state_dict_metadata.items() if hasattr(meta, "size")}
        dcp.load(states, storage_reader=reader)
    lines = []
    for key, tensor in sorted(states.items()):
        if ".layers." not in key:
            lines.append(of_tensor(key, tensor))
            continue
        for layer, part in enumerate(tensor):
            name = key.replace(".layers.", f".layers.{layer}.")
            if ".experts.experts." not in name:
                lines.append(of_tensor(name, part))
                continue
            for expert, matrix in enumerate(part):
                lines.append(of_tensor(name.replace(".experts.experts.", f".experts.local_experts.{expert}."), matrix))
    return lines


def main() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        for name in sys.argv[3:] or NAMES:
            folder = pathlib.Path(sys.argv[2]) / name
            for file in sorted((folder / "hf").iterdir()):
                if file.suffix != ".py":
                    add(f"decoders/{name}/hf/{file.name}", file.read_bytes())
            add(f"decoders/{name}/nemo.sha256", "".join(of_nemo(folder / f"{name}.nemo")).encode())
            back = folder / "hf_back" / "model.safetensors"
            if back.exists():
                add(f"decoders/{name}/hf_back.sha256", "".join(of_safetensors(back)).encode())
    with open(sys.argv[1], "wb") as f:
        f.write(lzma.compress(out.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
