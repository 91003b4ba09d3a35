#!/usr/bin/env python3
"""anemone's encoders beside ONNX Runtime's and OpenVINO's, random weights, fp32, in one run.

    encoder.py [--model ViT-L-14|ViT-B-32] [--threads 1,2] [--cases Image/1,Image/16,Texts/3,Texts/32] [--sides …] [--instructions AVX2]
               BUILD/bench/encoder_bench [FOLDER_FOR_ONNX_FILES]

Each side runs in turn, ROUNDS (3) times, each time in a process of its own; the least CPU time of a call counts, so that other
work on the machine does not, and beside it the least time on the clock. anemone runs with its own products (as bf16 and int8,
too), with OpenBLAS's and with oneDNN's; `infer -v` says which it takes for a model. Texts/3 are as long for all sides, Texts/32
of 4 to 20 tokens: the others get them padded to the longest. --instructions AVX2 forbids faster ones to anemone, OpenBLAS and
oneDNN, OpenVINO's included; ONNX Runtime has no such switch. The variables by which a machine names OpenBLAS's kernels are not
heeded. Needs torch, transformers, onnxruntime, onnxscript, openvino (nothing else of the project does).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))

ROUNDS = int(os.environ.get("ROUNDS", "3"))
CALLS = {"Image/1": 3, "Image/16": 2, "Texts/3": 10, "Texts/32": 3}
OTHERS = ("ONNX Runtime", "OpenVINO")
SIDES = (*OTHERS, "own", "openblas", "onednn", "bf16", "int8")
CAPS = {"AVX2": {"ANEMONE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}}


def input_of(case):
    kind, count = case.split("/")
    if kind == "Image":
        return np.random.default_rng(0).standard_normal((int(count), 3, 224, 224)).astype(np.float32)
    texts = [[49406, 320, 1000 + 7 * i] for i in range(int(count))]  # as bench/encoder_bench.cc has them
    if int(count) > 3:
        texts = [text + [2000 + i] * (i * 5 % 17) for i, text in enumerate(texts)]
    longest = max(map(len, texts)) + 1
    return np.array([text + [49407] * (longest - len(text)) for text in texts], np.int64)


def export(name, case, path):
    import clip_random
    import torch

    class Features(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            is_image = case.startswith("Image")
            self.tower, self.projection = (model.vision_model, model.visual_projection) if is_image else (model.text_model, model.text_projection)
            self.word = "pixel_values" if is_image else "input_ids"

        def forward(self, x):
            return self.projection(self.tower(**{self.word: x}).pooler_output)

    with torch.no_grad():
        model = clip_random.clip(**{"ViT-L-14": clip_random.L14, "ViT-B-32": clip_random.B32}[name])
        torch.onnx.export(Features(model).eval(), (torch.from_numpy(input_of(case)),), str(path), dynamo=True)


def others(side, case, threads, path):
    """Milliseconds of CPU and of the clock: the least of CALLS."""
    value = input_of(case)
    if side == "OpenVINO":
        import openvino
        ready = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"})
        request = ready.create_infer_request()
        run = lambda: request.infer([value])  # noqa: E731
    else:
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting is no work
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        run = lambda: session.run(None, {name: value})  # noqa: E731
    run()
    cpu = clock = 1e9
    for _ in range(CALLS[case]):
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        cpu, clock = min(cpu, time.process_time() - start_cpu), min(clock, time.perf_counter() - start)
    return cpu * 1e3, clock * 1e3


def ours(side, case, threads, bench, model):
    compute = {"ANEMONE_BENCH_COMPUTE": side} if side in ("bf16", "int8") else {"ANEMONE_GEMM": side}
    environment = {**os.environ, **compute, "ANEMONE_BENCH_THREADS": str(threads), "ANEMONE_BENCH_MODEL": model}
    words = [bench, "--benchmark_format=json", f"--benchmark_filter=^{case}/", f"--benchmark_repetitions={CALLS[case]}"]
    output = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment).stdout
    rows = [row for row in json.loads(output)["benchmarks"] if row["run_type"] == "iteration"]
    return min(row["cpu_time"] for row in rows), min(row["real_time"] for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-L-14", choices=("ViT-L-14", "ViT-B-32"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--cases", default=",".join(CALLS))
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--instructions", choices=CAPS)
    parser.add_argument("--side", help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("bench")
    parser.add_argument("folder", nargs="?", default=None)
    args = parser.parse_args()
    sides = args.sides.split(",")
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    os.environ.update(CAPS.get(args.instructions, {}))
    folder = pathlib.Path(args.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    path_of = {case: folder / f"{args.model}-{case.replace('/', '-')}.onnx" for case in args.cases.split(",")}
    if args.side:
        print(json.dumps(others(args.side, args.cases, int(args.threads), str(path_of[args.cases]))))
        return
    for case, path in path_of.items():
        if not path.exists():
            export(args.model, case, path)
    best = {}
    for _ in range(ROUNDS):
        for threads in map(int, args.threads.split(",")):
            for case in path_of:
                for side in sides:
                    if side not in OTHERS:
                        found = ours(side, case, threads, args.bench, args.model)
                    else:
                        words = [sys.executable, __file__, "--side", side, "--model", args.model, "--threads", str(threads), "--cases", case, args.bench, str(folder)]
                        found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
                    key = (case, threads, side)
                    best[key] = tuple(map(min, zip(found, best.get(key, found))))
    print(f"{args.model}: ms of CPU (of the clock), the least of {ROUNDS} rounds")
    for case in path_of:
        for threads in map(int, args.threads.split(",")):
            row = {side: best[case, threads, side] for side in sides}
            least = min((row[side][0] for side in OTHERS if side in row), default=float("nan"))
            print(f"{case:9} {threads} thread{'s' if threads > 1 else ' '} " + "  ".join(
                f"{side} {cpu:.1f} ({clock:.1f})" + (f" = {cpu / least:.2f}×" if side not in OTHERS else "") for side, (cpu, clock) in row.items()))


if __name__ == "__main__":
    main()
