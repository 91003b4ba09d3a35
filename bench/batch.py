#!/usr/bin/env python3
"""CPU time of a batch of 16 pictures through anemone's image encoder beside ONNX Runtime's, random weights, fp32, one thread
each: other work on the machine does not count.

    batch.py BUILD/bench/encoder_bench [ViT-B-32|ViT-L-14] [FOLDER_FOR_ONNX_FILES]

ROUNDS (3) rounds in turn, one batch each; the least of each counts. Needs torch, transformers, onnxruntime, onnxscript.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

ROUNDS = int(os.environ.get("ROUNDS", "3"))
BATCH = 16
SIZES = {"ViT-B-32": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32, projection_dim=512),
         "ViT-L-14": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14, projection_dim=768)}


class Features(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        return self.model(pixel_values=pixels).image_embeds


def session(name, folder):
    path = folder / f"{name}-image-{BATCH}.onnx"
    pixels = np.random.default_rng(0).standard_normal((BATCH, 3, 224, 224)).astype(np.float32)
    if not path.exists():
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=224, **SIZES[name])).eval()
        with torch.no_grad():
            torch.onnx.export(Features(model), (torch.from_numpy(pixels),), str(path), dynamo=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    ready = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: ready.run(None, {ready.get_inputs()[0].name: pixels})


def main():
    bench = sys.argv[1]
    name = sys.argv[2] if len(sys.argv) > 2 else "ViT-B-32"
    folder = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    theirs = session(name, folder)
    theirs()
    best = {}
    for _ in range(ROUNDS):
        start = time.process_time()
        theirs()
        best["ONNX Runtime"] = min(best.get("ONNX Runtime", 1e9), (time.process_time() - start) * 1e3)
        environment = {**os.environ, "ANEMONE_BENCH_MODEL": name, "ANEMONE_BENCH_THREADS": "1"}
        words = [bench, "--benchmark_format=json", f"--benchmark_filter=^Image/{BATCH}/"]
        output = subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout
        for row in json.loads(output)["benchmarks"]:
            if row["run_type"] == "iteration":
                best["anemone"] = min(best.get("anemone", 1e9), row["cpu_time"])
    for key, value in best.items():
        print(f"{key:14} {value:9.1f} ms CPU, {BATCH / value * 1e3:7.1f} pictures a second of one thread")
    print(f"anemone / ONNX Runtime: {best['anemone'] / best['ONNX Runtime']:.2f} (target 1.0)")


if __name__ == "__main__":
    main()
