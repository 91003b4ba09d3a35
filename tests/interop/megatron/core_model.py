"""Megatron-core's GPT on a CPU: its local layers, torch's optimizer, gloo."""

import contextlib
import dataclasses
import datetime
import inspect
import os
import subprocess
import typing
from unittest import mock

import numpy
import torch
from torch.overrides import TorchFunctionMode

if not hasattr(typing, "override"):
    typing.override = lambda function: function  # Megatron-core 0.19 and later ask for Python 3.12

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # as torch was when Megatron-core 0.9 came

# A field of TransformerConfig, where it is not called as the argument [megatron/training/arguments.py,
# core_transformer_config_from_args].
FIELDS = {"num_moe_experts": "num_experts"}
NOT_OF_THE_MODEL = ("transformer_impl", "tensor_parallel_num_weight_shards", "moe_deepep_num_sms", "moe_hybridep_num_sms")
OLDER = {"layernorm_epsilon": "norm_epsilon"}  # up to core 0.15


def convert(anemone, source, destination, *options):
    """`destination`, once it is written."""
    subprocess.run([anemone, "convert", source, destination, *options], check=True, capture_output=True, text=True)
    return destination


def transformer_config(args, ranks, kind=None, **changed):
    from megatron.core.transformer.transformer_config import TransformerConfig
    kind = kind or TransformerConfig
    given = {}
    for field in dataclasses.fields(kind):
        name = FIELDS.get(field.name, field.name)
        name = name if hasattr(args, name) else OLDER.get(name, name)
        if getattr(args, name, None) is not None and name not in NOT_OF_THE_MODEL:
            given[field.name] = getattr(args, name)
    if kind is not TransformerConfig:
        given["q_lora_rank"] = args.q_lora_rank  # none is a value
    swiglu = args.swiglu
    given.update(num_query_groups=args.num_query_groups, gated_linear_unit=swiglu, use_cpu_initialization=True,
                 activation_func=torch.nn.functional.silu if swiglu else torch.nn.functional.gelu, tensor_model_parallel_size=ranks,
                 bias_activation_fusion=not swiglu and args.bias_gelu_fusion, gradient_accumulation_fusion=False, masked_softmax_fusion=False,
                 pipeline_dtype=args.params_dtype, persist_layer_norm=False)
    return kind(**{**given, **changed})


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
    spec, config = local_layers(args), transformer_config(args, ranks, **changed)
    further = {}
    if getattr(args, "mtp_num_layers", None):
        from megatron.core.models.gpt.gpt_layer_specs import get_gpt_mtp_block_spec
        further["mtp_block_spec"] = get_gpt_mtp_block_spec(config, spec, use_transformer_engine=False)
    return GPTModel(config, spec, args.padded_vocab_size, args.max_position_embeddings, **further,
                    share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights,
                    position_embedding_type=args.position_embedding_type, rotary_base=args.rotary_base or 10000,
                    rotary_percent=args.rotary_percent).to(args.params_dtype)


def arguments(folder):
    from megatron.core import dist_checkpointing
    return dist_checkpointing.load_common_state_dict(folder)["args"]


def start(rank, ranks, out, **sizes):
    """The process group of one of `ranks` tensor ranks, if `sizes` say no other; `out` is a folder that all of them see."""
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE=str(ranks))
    store = torch.distributed.FileStore(os.path.join(out, f"store-{ranks}"), ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks, timeout=datetime.timedelta(seconds=60))
    from megatron.core import parallel_state
    parallel_state.initialize_model_parallel(**{"tensor_model_parallel_size": ranks, **sizes})


def answer_as_a_cpu():
    """What Megatron-core asks of a GPU."""
    from megatron.core.tensor_parallel import random
    random.CudaRNGStatesTracker.fork = lambda *_: contextlib.nullcontext()
    torch.cuda.current_device = lambda: torch.device("cpu")
    torch.cuda.synchronize = torch.cuda.empty_cache = lambda *_: None
    torch.cuda.current_stream = lambda *_: mock.MagicMock()
    torch.cuda.Stream = lambda *_, **__: mock.MagicMock()
    torch.cuda.stream = lambda *_: contextlib.nullcontext()
    torch.Tensor.cuda = lambda self, *_, **__: self
    numpy.product = numpy.prod  # as numpy was when Megatron-core 0.9 came


class CpuForCuda(TorchFunctionMode):
    """Tensors that are asked for on a GPU are on the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.cuda:
            return args[0]
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "cpu"
        result = function(*args, **kwargs)
        if function is torch.Tensor.type and isinstance(result, str):  # the optimizer asks for a GPU's
            return result.replace("torch.", "torch.cuda.")
        return result


class LatentAttention(torch.nn.Module):
    """Causal attention whose values are narrower than its keys, which Megatron-core leaves to Transformer Engine."""

    def __init__(self, config, layer_number, attn_mask_type, attention_type, softmax_scale=None, **_):
        super().__init__()
        self.scale = softmax_scale

    def forward(self, query, key, value, *_, **__):
        query, key, value = (part.permute(1, 2, 0, 3) for part in (query, key, value))
        scores = query @ key.transpose(-1, -2) * self.scale
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return (scores.masked_fill(later, float("-inf")).softmax(-1) @ value).permute(2, 0, 1, 3).flatten(2)


def latent_model(args, ranks, **changed):
    """A DeepSeek with layers that predict several tokens. Call in CpuForCuda."""
    torch.cuda.synchronize, torch.cuda.current_device = lambda *_: None, lambda: "cpu"
    from megatron.core.models import backends
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec, get_gpt_mtp_block_spec
    from megatron.core.models.gpt.gpt_model import GPTModel
    from megatron.core.transformer import multi_latent_attention
    from megatron.core.transformer.moe import moe_utils
    from megatron.core.transformer.transformer_config import MLATransformerConfig
    backends.LocalSpecProvider.core_attention = lambda _: LatentAttention
    multi_latent_attention.TELinear = type("TELinear", (), {})  # what a layer is asked whether it is
    moe_utils.te_general_gemm = None
    config = transformer_config(args, ranks, kind=MLATransformerConfig, **changed)
    layers = get_gpt_decoder_block_spec(config, use_transformer_engine=False)
    further = get_gpt_mtp_block_spec(config, layers, use_transformer_engine=False) if args.mtp_num_layers else None
    from megatron.core import parallel_state
    return GPTModel(config, layers, args.padded_vocab_size, args.max_position_embeddings, position_embedding_type="rope",
                    share_embeddings_and_output_weights=not args.untie_embeddings_and_output_weights, mtp_block_spec=further,
                    pre_process=parallel_state.is_pipeline_first_stage(), post_process=parallel_state.is_pipeline_last_stage())


def mtp_logits(model, ids):
    """[batch, tokens, vocabulary] of the decoder, and of each layer behind it."""
    parts = []
    model.mtp.register_forward_hook(lambda _, __, hidden: parts.extend(hidden.chunk(1 + model.config.mtp_num_layers)))
    positions = torch.arange(ids.shape[1]).expand(ids.shape)
    with torch.no_grad():
        model.eval()(ids, positions, None, labels=ids)
        return [model.output_layer(part)[0].transpose(0, 1) for part in parts]


class FusedAdam(torch.optim.AdamW):
    """Keeps the step with the group, as Transformer Engine's and apex's. Core 0.9's own training had these, and the distributed optimizer
    of all versions asks a new one that is torch's for a step that it does not have."""

    def __init__(self, params, lr, weight_decay, betas, eps, **_):
        super().__init__(params, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)

    def __setstate__(self, state):
        steps = [group.pop("step", 0) for group in state["param_groups"]]
        for own in state["state"].values():
            own["step"] = torch.tensor(0.0)
        super().__setstate__(state)
        for group, step in zip(self.param_groups, steps):
            group["step"] = step
        for own in self.state.values():
            del own["step"]

    def step(self, closure=None):
        parameters = [(group, parameter) for group in self.param_groups for parameter in group["params"]]
        for group, parameter in parameters:
            self.state[parameter]["step"] = torch.tensor(float(group["step"]))
        super().step(closure)
        for group, parameter in parameters:
            del self.state[parameter]["step"]
        for group in self.param_groups:
            group["step"] += 1


@contextlib.contextmanager
def fused_adam(is_used):
    from megatron.core import optimizer
    from megatron.core.optimizer import distrib_optimizer
    with contextlib.ExitStack() as stack:
        if is_used:
            for module, name, value in ((optimizer, "Adam", FusedAdam), (optimizer, "USING_PYTORCH_OPTIMIZER", False),
                                        (distrib_optimizer, "Adam", FusedAdam), (distrib_optimizer, "HAVE_APEX_OR_TE", True)):
                stack.enter_context(mock.patch.object(module, name, value, create=True))
        yield
