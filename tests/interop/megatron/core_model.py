"""Megatron-core's GPT on a CPU: its local layers, torch's optimizer, gloo."""

import dataclasses
import datetime
import inspect
import os
import typing

import torch
from torch.overrides import TorchFunctionMode

if not hasattr(typing, "override"):
    typing.override = lambda function: function  # Megatron-core 0.19 and later ask for Python 3.12

# A field of TransformerConfig, where it is not called as the argument [megatron/training/arguments.py,
# core_transformer_config_from_args].
FIELDS = {"num_moe_experts": "num_experts"}
NOT_OF_THE_MODEL = ("transformer_impl", "tensor_parallel_num_weight_shards", "moe_deepep_num_sms", "moe_hybridep_num_sms")
OLDER = {"layernorm_epsilon": "norm_epsilon"}  # up to core 0.15


def transformer_config(args, ranks, **changed):
    from megatron.core.transformer.transformer_config import TransformerConfig
    given = {}
    for field in dataclasses.fields(TransformerConfig):
        name = FIELDS.get(field.name, field.name)
        name = name if hasattr(args, name) else OLDER.get(name, name)
        if getattr(args, name, None) is not None and name not in NOT_OF_THE_MODEL:
            given[field.name] = getattr(args, name)
    swiglu = args.swiglu
    given.update(num_query_groups=args.num_query_groups, gated_linear_unit=swiglu, use_cpu_initialization=True,
                 activation_func=torch.nn.functional.silu if swiglu else torch.nn.functional.gelu, tensor_model_parallel_size=ranks,
                 bias_activation_fusion=not swiglu and args.bias_gelu_fusion, gradient_accumulation_fusion=False, masked_softmax_fusion=False,
                 pipeline_dtype=args.params_dtype, persist_layer_norm=False, **changed)
    return TransformerConfig(**given)


class RmsNorm(torch.nn.RMSNorm):
    def __init__(self, config, hidden_size, eps, **_):
        super().__init__(hidden_size, eps=eps)


def local_layers(args):
    from megatron.core.models.gpt import gpt_layer_specs
    said = {"num_experts": args.num_experts, "qk_layernorm": bool(args.qk_layernorm)}
    if "normalization" in inspect.signature(gpt_layer_specs.get_gpt_layer_local_spec).parameters:
        said["normalization"] = args.normalization
    elif args.normalization == "RMSNorm":  # of which core 0.9's local layers have none
        from megatron.core.transformer import transformer_block
        gpt_layer_specs.LNImpl = transformer_block.LayerNormImpl = RmsNorm
    return gpt_layer_specs.get_gpt_layer_local_spec(**said)


def build(args, ranks, **changed):
    from megatron.core.models.gpt.gpt_model import GPTModel
    spec = local_layers(args)
    return GPTModel(transformer_config(args, ranks, **changed), spec, args.padded_vocab_size, args.max_position_embeddings,
                    share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights,
                    position_embedding_type=args.position_embedding_type, rotary_base=args.rotary_base or 10000,
                    rotary_percent=args.rotary_percent).to(args.params_dtype)


def arguments(folder):
    from megatron.core import dist_checkpointing
    return dist_checkpointing.load_common_state_dict(folder)["args"]


def start(rank, ranks, out, **sizes):
    """The process group of one of `ranks` tensor ranks; `out` is a folder that all of them see."""
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE=str(ranks))
    store = torch.distributed.FileStore(os.path.join(out, f"store-{ranks}"), ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=datetime.timedelta(seconds=60))
    from megatron.core import parallel_state
    parallel_state.initialize_model_parallel(tensor_model_parallel_size=ranks, **sizes)


class CpuForCuda(TorchFunctionMode):
    """Tensors that are asked for on a GPU are on the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "cpu"
        result = function(*args, **kwargs)
        if function is torch.Tensor.type and isinstance(result, str):  # the optimizer asks for a GPU's
            return result.replace("torch.", "torch.cuda.")
        return result
