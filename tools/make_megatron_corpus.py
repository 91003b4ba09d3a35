#!/usr/bin/env python3
"""Fills fuzz/corpus/folder with save folders of Megatron's as fuzz/folder.h reads them: two tensor ranks of a tiny Llama,
one of an older version's nested model, and two expert ranks with the optimizer of either kind. Needs torch.

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


def torch_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def saved(model, args, version, **more):
    return torch_file({"args": args, "checkpoint_version": version, "iteration": 1, "model": model, **more})


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


def mixture():
    """Two experts on two ranks: one on each."""
    model = llama(1)
    layer = "decoder.layers.0.mlp."
    experts = {layer + f"experts.local_experts.0.{part}.weight": model.pop(f"{layer}{part}.weight") for part in ("linear_fc1", "linear_fc2")}
    return {**model, layer + "router.weight": zeros(2, WIDTH), **experts}


def group(tensors, decays, of_experts):
    return {"params": list(range(len(tensors))), "wd_mult": float(decays), "is_expert_parallel": of_experts, "lr": 1e-3, "step": 3}


def optimizers(model, is_distributed):
    """The chain of Megatron-core: all but the experts, and the experts. Beside it what distrib_optim.pt has."""
    chain, buffers = [], []
    for of_experts in (False, True):
        own = [tensor for name, tensor in model.items() if (".experts." in name) == of_experts]
        matrices, vectors = [t for t in own if t.dim() > 1], [t for t in own if t.dim() == 1]
        groups = [group(part, part is matrices, of_experts) for part in (matrices, vectors) if part]
        begin = 0
        for one in groups:
            one["params"] = list(range(begin, begin + len(one["params"])))
            begin += len(one["params"])
        state = {number: {"exp_avg": tensor, "exp_avg_sq": tensor} for number, tensor in enumerate(matrices + vectors)}
        chain.append({"optimizer": {"param_groups": groups} if is_distributed else {"state": state, "param_groups": groups}})
        size = sum(-(-tensor.numel() // 64) * 64 for tensor in own[1:]) + own[0].numel()
        flat = {key: zeros(size) for key in ("param", "exp_avg", "exp_avg_sq")}
        buffers.append({"buckets_coalesced": True, 0: {(torch.float32, torch.float32): flat}})
    return chain, buffers


def expert_ranks(args, is_distributed):
    files = []
    for rank in range(2):
        chain, buffers = optimizers(mixture(), is_distributed)
        if is_distributed:
            buffers = buffers if rank == 0 else [None, buffers[1]]
            files.append(record(f"iter_0000001/mp_rank_00_{rank:03}/distrib_optim.pt", torch_file(buffers)))
        files.append(record(f"iter_0000001/mp_rank_00_{rank:03}/model_optim_rng.pt", saved(mixture(), args, 3.0, optimizer=chain)))
    return files


def main():
    tracker = record("latest_checkpointed_iteration.txt", b"1")
    args = arguments(2, swiglu=True, normalization="RMSNorm", position_embedding_type="rope", add_bias_linear=False,
                     untie_embeddings_and_output_weights=True)
    ranks = [record(f"iter_0000001/mp_rank_{rank:02}/model_optim_rng.pt", saved(llama(2), args, 3.0)) for rank in range(2)]
    (CORPUS / "folder" / "megatron_tp2").write_bytes(b"\n".join([tracker, *ranks]))
    of_experts = arguments(1, **{key: value for key, value in vars(args).items() if not hasattr(arguments(1), key)}, num_experts=2,
                           moe_router_topk=2, moe_ffn_hidden_size=FFN, expert_model_parallel_size=2)
    for name, is_distributed in (("adam", False), ("buckets", True)):
        (CORPUS / "folder" / f"megatron_experts_{name}").write_bytes(b"\n".join([tracker, *expert_ranks(of_experts, is_distributed)]))
    old = record("iter_0000001/mp_rank_00/model_optim_rng.pt", saved(legacy(), arguments(1), 0))
    (CORPUS / "folder" / "megatron_legacy").write_bytes(b"\n".join([tracker, old]))


main()
