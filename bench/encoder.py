#!/usr/bin/env python3
"""Ratios of anemone's encoders to ONNX Runtime's, ViT-L/14, random weights, fp32, 2 threads, in one run.

    encoder.py BUILD/bench/encoder_bench [FOLDER_FOR_ONNX_FILES]

Each side runs in turn, ROUNDS times; the least time of each counts, so that other work on the machine does not.
Needs torch, transformers, onnxruntime, onnxscript (nothing else of the project does).
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import clip_random  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))


class Features(torch.nn.Module):
    def __init__(self, model, kind):
        super().__init__()
        self.tower, self.projection, self.kind = (
            (model.vision_model, model.visual_projection, "pixel_values") if kind == "image" else (model.text_model, model.text_projection, "input_ids"))

    def forward(self, x):
        return self.projection(self.tower(**{self.kind: x}).pooler_output)


def sessions(folder):
    inputs = {"image": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32),
              "texts of 77": np.full((3, 77), 49407, np.int64), "texts of 4": np.full((3, 4), 49407, np.int64)}
    for key in ("texts of 77", "texts of 4"):
        inputs[key][:, 0] = 49406
        inputs[key][:, 1] = 320
        inputs[key][:, 2] = (1929, 1876, 1611)
    model = None
    for key, value in inputs.items():
        path = folder / (key.replace(" ", "_") + ".onnx")
        if not path.exists():
            model = model or clip_random.clip(**clip_random.L14)
            torch.onnx.export(Features(model, "image" if key == "image" else "text").eval(), (torch.from_numpy(value),), str(path), dynamo=True)
    del model
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    for key, value in inputs.items():
        session = onnxruntime.InferenceSession(str(folder / (key.replace(" ", "_") + ".onnx")), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        yield key, lambda s=session, n=name, v=value: s.run(None, {n: v})


def main():
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        theirs = dict(sessions(folder))
    best = {}
    for _ in range(ROUNDS):
        for key, run in theirs.items():
            for _ in range(6 if key == "image" else 20):
                start = time.perf_counter()
                run()
                best[key] = min(best.get(key, 1e9), (time.perf_counter() - start) * 1e3)
        for case, calls in (("Image/1/", 6), ("ThreeShortTexts", 20)):
            words = [sys.argv[1], "--benchmark_format=json", f"--benchmark_filter=^{case}", f"--benchmark_repetitions={calls}"]
            output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            for row in json.loads(output)["benchmarks"]:
                if row["run_type"] != "iteration":
                    continue
                key = "ours " + row["name"].split("/")[0]
                best[key] = min(best.get(key, 1e9), row["real_time"])
    for key, value in best.items():
        print(f"{key:24} {value:9.1f} ms")
    print(f"image: {best['ours Image'] / best['image']:.2f} of ONNX Runtime's time (target 1.1)")
    print(f"three short texts: {best['ours ThreeShortTexts'] / best['texts of 77']:.2f} of its time on texts padded to 77 (target 0.2), "
          f"{best['ours ThreeShortTexts'] / best['texts of 4']:.2f} on unpadded ones")


if __name__ == "__main__":
    main()
