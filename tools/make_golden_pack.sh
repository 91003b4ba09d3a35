#!/bin/sh
# Makes tests/golden/torch.tar.xz: torch files by Debian's torch 1.13 and by a new one, small CLIPs by a new transformers.
# usage: tools/make_golden_pack.sh NEW_PYTHON GOLDEN_DIR MAKE_CHECKPOINT
#   GOLDEN_DIR: where tests/golden/unpack unpacked the others; MAKE_CHECKPOINT: the program built from tools/make_checkpoint.cc
set -eu
cd "$(dirname -- "$0")/.."
new=$1 golden=$2 make_checkpoint=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
for model in ViT-B-32 ViT-L-14; do "$make_checkpoint" $model "$work/sized/$model"; done
/usr/bin/python3 -W ignore tools/make_torch_golden.py "$work/torch/1.13"
"$new" -W ignore tools/make_torch_golden.py "$work/torch/2.15"
"$new" -W ignore tools/make_clip_golden.py "$work/clip_hf" --vocabulary "$golden/clip/hf" --demo models/demo-clip \
  --sized "$work/sized/ViT-B-32" "$work/sized/ViT-L-14"
chmod -R u+rwX,go+rX "$work"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=2026-11-22T00:00Z -C "$work" -cf - torch clip_hf | xz -9e >tests/golden/torch.tar.xz
ls -l tests/golden/torch.tar.xz
