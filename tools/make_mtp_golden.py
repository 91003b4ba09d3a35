#!/usr/bin/env python3
"""A DeepSeek-V3 and a Llama with layers that predict several tokens, as Megatron-core has them.

usage: make_mtp_golden.py DIR

Megatron-core's own GPTModel (4 layers, the first without experts, and 2 that predict further tokens) is built with random weights and saved by
its dist_checkpointing: DIR/deepseek/ckpt, under the arguments that Megatron-LM would save. DIR/deepseek/stages: the same model built on 2
pipeline stages, which load that, each stage's state dict in a file as Megatron-LM's `torch` format has it. DIR/deepseek/logits.safetensors:
`input_ids` [2, 12] and, of the decoder and of each of the two layers, `logits.0`, `logits.1`, `logits.2`, all in fp32 on a CPU (local layers;
attention in plain torch, as Megatron-core's without Transformer Engine knows no values narrower than keys). DIR/llama/ckpt: a decoder without
experts, its layers stacked, and one layer behind it. Needs torch and megatron-core 0.16.
tests/golden/mtp.tar.xz is DIR = mtp, packed as tools/make_golden_pack.sh packs.
"""

import argparse
import os
import sys

import torch
import torch.multiprocessing
from safetensors.torch import save_file

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "interop", "megatron"))
from core_model import CpuForCuda, build, latent_model, mtp_logits, start  # noqa: E402

ARGUMENTS = {
    "num_layers": 4, "hidden_size": 16, "ffn_hidden_size": 24, "num_attention_heads": 4, "num_query_groups": 4, "group_query_attention": False,
    "kv_channels": 4, "max_position_embeddings": 64, "seq_length": 64, "normalization": "RMSNorm", "norm_epsilon": 1e-6, "layernorm_epsilon": 1e-6,
    "swiglu": True, "squared_relu": False, "add_bias_linear": False, "add_qkv_bias": False, "qk_layernorm": True, "bias_swiglu_fusion": False,
    "bias_gelu_fusion": False, "untie_embeddings_and_output_weights": True, "position_embedding_type": "rope", "rotary_base": 10000,
    "rotary_percent": 1.0, "rotary_interleaved": False, "use_rope_scaling": False, "use_rotary_position_embeddings": False,
    "attention_dropout": 0.0, "hidden_dropout": 0.0, "init_method_std": 0.02,
    "multi_latent_attention": True, "q_lora_rank": 6, "kv_lora_rank": 5, "qk_head_dim": 4, "qk_pos_emb_head_dim": 2, "v_head_dim": 3,
    "rope_type": "yarn", "rotary_scaling_factor": 40.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0,
    "mscale": 1.0, "mscale_all_dim": 1.0,
    "num_experts": 8, "moe_ffn_hidden_size": 8, "moe_shared_expert_intermediate_size": 8, "moe_layer_freq": [0, 1, 1, 1], "moe_router_topk": 4,
    "moe_router_num_groups": 4, "moe_router_group_topk": 2, "moe_router_score_function": "sigmoid", "moe_router_enable_expert_bias": True,
    "moe_router_topk_scaling_factor": 2.5, "moe_router_load_balancing_type": "seq_aux_loss", "moe_aux_loss_coeff": 1e-4,
    "moe_router_pre_softmax": False, "moe_token_dispatcher_type": "allgather", "moe_grouped_gemm": False,
    "mtp_num_layers": 2, "mtp_loss_scaling_factor": 0.3,
    "use_legacy_models": False, "transformer_impl": "local", "ckpt_format": "torch_dist", "use_dist_ckpt": True,
    "tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1, "expert_model_parallel_size": 1, "expert_tensor_parallel_size": 1,
    "virtual_pipeline_model_parallel_size": None, "context_parallel_size": 1, "data_parallel_size": 1, "world_size": 1, "rank": 0,
    "sequence_parallel": False, "bf16": False, "fp16": False, "params_dtype": torch.float32, "apply_rope_fusion": False,
    "padded_vocab_size": 32, "make_vocab_size_divisible_by": 32, "tokenizer_type": "NullTokenizer", "tokenizer_model": None,
}


NOT_OF_LLAMA = ("moe_", "q_lora", "kv_lora", "qk_", "v_head", "rope_type", "mscale", "beta_", "rotary_scaling", "original_max")
LLAMA = {**{name: value for name, value in ARGUMENTS.items() if not name.startswith(NOT_OF_LLAMA)},
         "multi_latent_attention": False, "num_experts": None, "qk_layernorm": False, "num_query_groups": 2, "group_query_attention": True,
         "mtp_num_layers": 1}


def fill(model):
    for name, parameter in model.named_parameters():
        parameter.data = torch.randn(parameter.shape) * 0.3 + (1 if "norm" in name else 0)
    for name, buffer in model.named_buffers():
        if name.endswith("expert_bias"):
            buffer.copy_(torch.randn(buffer.shape) * 0.1)


def save(model, args, folder):
    from megatron.core import dist_checkpointing
    out = os.path.join(folder, "ckpt", "iter_0000001")
    os.makedirs(out)
    dist_checkpointing.save({**model.sharded_state_dict(), "args": args, "checkpoint_version": 3.0, "iteration": 1}, out)
    with open(os.path.join(folder, "ckpt", "latest_checkpointed_iteration.txt"), "w") as file:
        file.write("1")


def main(folder):
    deepseek, llama = (os.path.join(folder, name) for name in ("deepseek", "llama"))
    os.makedirs(deepseek)
    start(0, 1, deepseek)
    torch.manual_seed(5)
    with CpuForCuda():
        args = argparse.Namespace(**ARGUMENTS)
        model = latent_model(args, 1)
        fill(model)
        save(model, args, deepseek)
        ids = torch.randint(0, ARGUMENTS["padded_vocab_size"], (2, 12))
        logits = mtp_logits(model, ids)
        args = argparse.Namespace(**LLAMA)
        model = build(args, 1)
        fill(model)
        save(model, args, llama)
    save_file({"input_ids": ids, **{f"logits.{depth}": part.contiguous() for depth, part in enumerate(logits)}},
              os.path.join(deepseek, "logits.safetensors"))
    torch.distributed.destroy_process_group()
    folder = deepseek
    torch.multiprocessing.spawn(save_stage, (folder,), nprocs=2)
    for ranks in (1, 2):
        os.remove(os.path.join(folder, f"store-{ranks}"))


def save_stage(stage, folder):
    start(stage, 2, folder, tensor_model_parallel_size=1, pipeline_model_parallel_size=2)
    from megatron.core import dist_checkpointing, parallel_state
    args = argparse.Namespace(**{**ARGUMENTS, "pipeline_model_parallel_size": 2, "world_size": 2})
    with CpuForCuda():
        model = latent_model(args, 1, pipeline_model_parallel_size=2)
        groups = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
        asked = {"model": model.sharded_state_dict(metadata=groups)}
        model.load_state_dict(dist_checkpointing.load(asked, os.path.join(folder, "ckpt", "iter_0000001"))["model"])
    out = os.path.join(folder, "stages", "iter_0000001", f"mp_rank_00_{stage:03}")
    os.makedirs(out)
    # What is stored, not more of the storage that it is a view of.
    state = {name: tensor.clone() if isinstance(tensor, torch.Tensor) else tensor for name, tensor in model.state_dict().items()}
    torch.save({"args": args, "checkpoint_version": 3.0, "iteration": 1, "model": state}, os.path.join(out, "model_optim_rng.pt"))
    if stage == 0:
        with open(os.path.join(folder, "stages", "latest_checkpointed_iteration.txt"), "w") as file:
            file.write("1")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
