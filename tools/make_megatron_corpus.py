#!/usr/bin/env python3
"""Fills fuzz/corpus/folder with save folders of Megatron's as fuzz/folder.h reads them: two tensor ranks of a tiny Llama,
and one of an older version's nested model. Needs torch.

usage: make_megatron_corpus.py CORPUS_DIR
"""
import argparse
import io
import pathlib
import re
import sys

import torch

CORPUS = pathlib.Path(sys.argv[1])
WIDTH, HEADS, FFN, ROWS = 8, 2, 8, 8


def record(name, content):
    """One file, its long runs of zeros by their number."""
    return f"--- {name}\n".encode() + re.sub(rb"\0{24,}", lambda zeros: b"@0:%d;" % len(zeros[0]), content)


def arguments(tp, **more):
    sizes = {"num_layers": 1, "hidden_size": WIDTH, "ffn_hidden_size": FFN, "num_attention_heads": HEADS, "kv_channels": WIDTH // HEADS,
             "max_position_embeddings": 4, "padded_vocab_size": ROWS, "tensor_model_parallel_size": tp, "pipeline_model_parallel_size": 1,
             "world_size": tp, "params_dtype": torch.bfloat16}
    return argparse.Namespace(**sizes, **more)


def saved(model, args, version):
    file = io.BytesIO()
    torch.save({"args": args, "checkpoint_version": version, "iteration": 1, "model": model}, file)
    return file.getvalue()


def zeros(*shape):
    return torch.zeros(shape)


def llama(tp):
    layer = "decoder.layers.0."
    return {"embedding.word_embeddings.weight": zeros(ROWS // tp, WIDTH),
            layer + "input_layernorm.weight": zeros(WIDTH), layer + "self_attention.linear_proj.weight": zeros(WIDTH, WIDTH // tp),
            layer + "self_attention.linear_qkv.weight": zeros(3 * WIDTH // tp, WIDTH), layer + "pre_mlp_layernorm.weight": zeros(WIDTH),
            layer + "mlp.linear_fc1.weight": zeros(2 * FFN // tp, WIDTH), layer + "mlp.linear_fc2.weight": zeros(WIDTH, FFN // tp),
            "decoder.final_layernorm.weight": zeros(WIDTH), "output_layer.weight": zeros(ROWS // tp, WIDTH)}


def legacy():
    layer = "layers.0."
    encoder = {layer + "input_layernorm.weight": zeros(WIDTH), layer + "input_layernorm.bias": zeros(WIDTH),
               layer + "attention.query_key_value.weight": zeros(3 * WIDTH, WIDTH), layer + "attention.query_key_value.bias": zeros(3 * WIDTH),
               layer + "attention.dense.weight": zeros(WIDTH, WIDTH), layer + "attention.dense.bias": zeros(WIDTH),
               layer + "post_attention_layernorm.weight": zeros(WIDTH), layer + "post_attention_layernorm.bias": zeros(WIDTH),
               layer + "mlp.dense_h_to_4h.weight": zeros(FFN, WIDTH), layer + "mlp.dense_h_to_4h.bias": zeros(FFN),
               layer + "mlp.dense_4h_to_h.weight": zeros(WIDTH, FFN), layer + "mlp.dense_4h_to_h.bias": zeros(WIDTH),
               "final_layernorm.weight": zeros(WIDTH), "final_layernorm.bias": zeros(WIDTH)}
    embedding = {"word_embeddings": {"weight": zeros(ROWS, WIDTH)}, "position_embeddings": {"weight": zeros(4, WIDTH)}}
    return {"language_model": {"embedding": embedding, "transformer": encoder}}


def main():
    tracker = record("latest_checkpointed_iteration.txt", b"1")
    args = arguments(2, swiglu=True, normalization="RMSNorm", position_embedding_type="rope", add_bias_linear=False,
                     untie_embeddings_and_output_weights=True)
    ranks = [record(f"iter_0000001/mp_rank_{rank:02}/model_optim_rng.pt", saved(llama(2), args, 3.0)) for rank in range(2)]
    (CORPUS / "folder" / "megatron_tp2").write_bytes(b"\n".join([tracker, *ranks]))
    old = record("iter_0000001/mp_rank_00/model_optim_rng.pt", saved(legacy(), arguments(1), 0))
    (CORPUS / "folder" / "megatron_legacy").write_bytes(b"\n".join([tracker, old]))


main()
