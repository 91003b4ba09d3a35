#!/usr/bin/env python3
"""Measures `anemone convert` of a Megatron-LM torch_dist folder to Hugging Face against copying it, in one run.

  bench/megatron.py --anemone build/release/anemone --work DIR [--layers 24] [--ranks 8] [--rounds 5] [--json FILE]

The model is a Llama of 24 layers of the width 4096 in bf16, of random bytes: 10.2 GB in a file for each of 8 ranks; DIR needs 31 GB. All start
warm (source in the page cache) and end durable (fsync). The contestants alternate; the figures are medians. Limits: 1.0 times the copy,
128 MiB.
"""

import json
import os
import shutil
import struct
import sys

import measure

RATIO, KIB = 1.0, 128 << 10
WIDTH, FFN, HEADS, GROUPS, ROWS = 4096, 11008, 32, 32, 32000
WINDOW = 4 << 20


def shapes(layers):
    yield "model.embed_tokens.weight", (ROWS, WIDTH)
    groups = WIDTH // HEADS * GROUPS
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (WIDTH,)
        for part, rows in (("q", WIDTH), ("k", groups), ("v", groups), ("o", WIDTH)):
            yield f"{at}self_attn.{part}_proj.weight", (rows, WIDTH)
        yield at + "post_attention_layernorm.weight", (WIDTH,)
        yield at + "mlp.gate_proj.weight", (FFN, WIDTH)
        yield at + "mlp.up_proj.weight", (FFN, WIDTH)
        yield at + "mlp.down_proj.weight", (WIDTH, FFN)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (ROWS, WIDTH)


def make_hf(folder, layers):
    """A Hugging Face folder of random bytes."""
    os.mkdir(folder)
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=ROWS, hidden_size=WIDTH, intermediate_size=FFN,
                  num_hidden_layers=layers, num_attention_heads=HEADS, num_key_value_heads=GROUPS, hidden_act="silu",
                  max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False, attention_bias=False,
                  mlp_bias=False, torch_dtype="bfloat16")
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    header, end = {}, 0
    for name, shape in shapes(layers):
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[begin, end])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while end > 0:
            file.write(os.urandom(min(end, WINDOW)))
            end -= min(end, WINDOW)


def main():
    parser = measure.arguments(__doc__, tools=())
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--ranks", type=int, default=8)
    args = parser.parse_args()
    with measure.folder(args.work) as work:
        return measured(args, work)


def measured(args, work):
    made, source, copy, out = (os.path.join(work, name) for name in ("made", "megatron", "copy", "hf"))
    make_hf(made, args.layers)
    measure.run([args.anemone, "convert", made, source, "--to", "megatron", "--tp", str(args.ranks), "-q"])
    shutil.rmtree(made)
    files = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    size = sum(os.path.getsize(path) for path in files)

    def copying():
        os.mkdir(copy)
        runs = [measure.copying(path, os.path.join(copy, str(number))) for number, path in enumerate(files)]
        return sum(seconds for seconds, _ in runs), max(peak for _, peak in runs)

    contestants = {"cp": copying, "anemone": lambda: measure.run([args.anemone, "convert", source, out, "--to", "hf", "-q"])}
    ground = measure.Ground(room=2 * size + (1 << 30))
    runs = {name: [] for name in contestants}
    for _ in range(args.rounds):
        for name, run in contestants.items():
            for path in files:
                measure.warm(path)
            ground.settle()
            runs[name].append(run())
            print(f"  {name}: {runs[name][-1][0]:.3f} s, {runs[name][-1][1] / 1024:.0f} MiB", flush=True)
            shutil.rmtree(copy if name == "cp" else out)
    print(f"torch_dist of {len(files)} files, {size / 1e9:.1f} GB")
    seconds, peak = measure.against_cp(runs, args.json)
    return 1 if seconds["anemone"] > RATIO * seconds["cp"] or peak["anemone"] > KIB else 0


if __name__ == "__main__":
    sys.exit(main())
