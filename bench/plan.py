#!/usr/bin/env python3
"""Plans a 340-billion-parameter GPT with its optimizer, about 5 TB, from sparse files: seconds and peak memory.

  bench/plan.py --anemone build/release/anemone --make-sparse build/release/tools/make_sparse_checkpoint \\
      --work DIR [--rounds 5] [--json FILE]

The checkpoint is 128 rank files (TP 8 × PP 16) with true headers and holes for tensors; it is planned for TP 4 × PP 8, for
one file, and, without any files, from its config. Limits: 5 s and 512 MiB.
"""

import json
import os
import sys

import measure

# Nemotron-4-340B's sizes.
CONFIG = """mcore_gpt: true
num_layers: 96
hidden_size: 18432
ffn_hidden_size: 73728
num_attention_heads: 96
num_query_groups: 8
max_position_embeddings: 4096
position_embedding_type: rope
normalization: layernorm1p
activation: squared-relu
bias: false
share_embeddings_and_output_weights: false
make_vocab_size_divisible_by: 128
vocab_size: 256000
"""
SECONDS, KIB = 5, 512 << 10


def main():
    args = measure.arguments(__doc__, tools=("make-sparse",), work="a folder on a file system with sparse files").parse_args()
    with measure.folder(args.work) as work:
        return measured(args, work)


def measured(args, work):
    config, source = os.path.join(work, "model_config.yaml"), os.path.join(work, "ranks")
    with open(config, "w") as file:
        file.write(CONFIG)
    measure.run([args.make_sparse, config, source, "8", "16"])
    files = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    apparent, held = sum(os.path.getsize(f) for f in files), sum(os.stat(f).st_blocks * 512 for f in files)
    print(f"source: {apparent / 1e12:.2f} TB in {len(files)} files, {held / 1e6:.0f} MB on the disk")
    target = os.path.join(work, "out")
    reshard = [args.anemone, "reshard", source, target, "--to", "ckpt", "--plan", "-q"]
    cases = {
        "reshard --plan, TP 8 × PP 16 to TP 4 × PP 8": [*reshard, "--tp", "4", "--pp", "8"],
        "reshard --plan, TP 8 × PP 16 to one rank": [*reshard, "--tp", "1", "--pp", "1"],
        "plan, from the config": [args.anemone, "plan", "--family", "gpt", "--config", config, "--tp", "8", "--pp", "16",
                                  "--dtype", "bf16", "--optimizer"],
    }
    results, missed = {}, False
    for name, argv in cases.items():
        runs = [measure.run(argv) for _ in range(args.rounds)]
        seconds, peak = measure.median([r[0] for r in runs]), max(r[1] for r in runs)
        missed |= seconds > SECONDS or peak > KIB
        results[name] = {"seconds": seconds, "peak_kib": peak}
        print(f"{name}: {seconds:.2f} s, {peak / 1024:.0f} MiB")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
