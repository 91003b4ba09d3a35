"""A training state of Megatron-core's with a chain of optimizers: a mixture of experts on two expert ranks.

usage: make_chained_golden.py DIR

Two gloo processes train Megatron's own GPTModel (2 layers, 4 experts) for two steps with a ChainedOptimizer of two FP32Optimizers over
torch's Adam, and save it by dist_checkpointing as NeMo 1 would: DIR/dist (Lightning's keys, the model under "model."). What each process
holds itself is in DIR/rank{0,1}.pt, under the names of the checkpoint. Needs torch, psutil and megatron-core 0.16.
tests/golden/dist-megatron-0.16.tar.xz is DIR = dist_megatron_0.16, packed as tools/make_golden_pack.sh packs.
"""

import os
import re
import sys

import torch
import torch.multiprocessing

CONFIG = {
    "target": "nemo.collections.nlp.models.language_modeling.megatron_gpt_model.MegatronGPTModel",
    "mcore_gpt": True,
    "transformer_engine": False,
    "tensor_model_parallel_size": 1,
    "pipeline_model_parallel_size": 1,
    "expert_model_parallel_size": 2,
    "num_layers": 2,
    "hidden_size": 16,
    "ffn_hidden_size": 24,
    "num_attention_heads": 2,
    "num_moe_experts": 4,
    "max_position_embeddings": 8,
    "encoder_seq_length": 8,
    "position_embedding_type": "learned_absolute",
    "make_vocab_size_divisible_by": 16,
    "share_embeddings_and_output_weights": True,
    "activation": "gelu",
    "bias": False,
    "normalization": "layernorm",
    "precision": 32,
    "megatron_amp_O2": False,
    "optim": {"name": "fused_adam"},
}


def rank_main(rank, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29611")
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.cuda.synchronize, torch.cuda.current_device = lambda *_: None, lambda: torch.device("cpu")  # what the saver calls
    from megatron.core import dist_checkpointing, parallel_state
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.optimizer import ChainedOptimizer, OptimizerConfig
    from megatron.core.optimizer.optimizer import FP32Optimizer
    from megatron.core.transformer import TransformerConfig

    parallel_state.initialize_model_parallel(expert_model_parallel_size=2)
    torch.manual_seed(7)
    config = TransformerConfig(num_layers=2, hidden_size=16, ffn_hidden_size=24, num_attention_heads=2, num_moe_experts=4, add_bias_linear=False,
                               expert_model_parallel_size=2, use_cpu_initialization=True, moe_token_dispatcher_type="allgather",
                               gradient_accumulation_fusion=False)
    model = GPTModel(config, get_gpt_layer_local_spec(num_experts=4, moe_grouped_gemm=False), vocab_size=32, max_sequence_length=8,
                     share_embeddings_and_output_weights=True)

    # Megatron's own split: experts have optimizers of their own where they have ranks of their own. Its decay rule: biases and norms not.
    groups = {False: [[], []], True: [[], []]}
    for name, parameter in model.named_parameters():
        groups[not getattr(parameter, "allreduce", True)][name.endswith("bias") or parameter.dim() == 1].append(parameter)
    cpu, torch.tensor = torch.tensor, lambda *args, device=None, **words: cpu(*args, **words)  # FP32Optimizer wants a GPU for its scale
    optimizers = []
    for experts, (decay, rest) in groups.items():
        flags = {"is_expert_parallel": experts, "lr_mult": 1.0}
        adam = torch.optim.Adam([{"params": decay, "wd_mult": 1.0, **flags}, {"params": rest, "wd_mult": 0.0, **flags}], lr=1e-3, betas=(0.9, 0.95))
        optimizers.append(FP32Optimizer(adam, OptimizerConfig(optimizer="adam", lr=1e-3), lambda *_: None))
    chain = ChainedOptimizer(optimizers)
    torch.tensor = cpu

    generator = torch.Generator()
    for _ in range(2):
        for name, parameter in model.named_parameters():
            seed = 1000 * rank if not getattr(parameter, "allreduce", True) else 0
            generator.manual_seed(hash_of(name) + seed)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.optimizer.step()

    def stored(name):  # as GPTModel.sharded_state_dict names it, experts counted over all ranks
        name = re.sub(r"local_experts\.(\d+)", lambda found: f"local_experts.{int(found[1]) + 2 * rank}", name)
        for module, key in (("input_layernorm.", "self_attention.linear_qkv.layer_norm_"), ("pre_mlp_layernorm.", "mlp.linear_fc1.layer_norm_")):
            name = name.replace(module, key)
        return "model." + name

    names = {id(parameter): stored(name) for name, parameter in model.named_parameters()}
    own = {"weights": {names[id(parameter)]: parameter.detach().clone() for parameter in model.parameters()}, "moments": {}}
    for optimizer in optimizers:
        for parameter, state in optimizer.optimizer.state.items():
            own["moments"][names[id(parameter)]] = {kind: state[kind].clone() for kind in ("exp_avg", "exp_avg_sq")}
    torch.save(own, os.path.join(folder, f"rank{rank}.pt"))

    weights = model.sharded_state_dict(prefix="model.")
    state = {
        "epoch": 0, "global_step": 2, "pytorch-lightning_version": "2.4.0", "loops": None, "lr_schedulers": [], "hyper_parameters": CONFIG,
        "state_dict": {},
        "sharded_state_dict": weights,
        "optimizer_states": [chain.sharded_state_dict(weights, metadata={})],
    }
    os.makedirs(os.path.join(folder, "dist"), exist_ok=True)
    dist_checkpointing.save(state, os.path.join(folder, "dist"))
    torch.distributed.barrier()


def hash_of(name):
    return sum((i + 1) * ord(c) for i, c in enumerate(name))


if __name__ == "__main__":
    target = os.path.abspath(sys.argv[1])
    os.makedirs(target, exist_ok=True)
    torch.multiprocessing.spawn(rank_main, (target,), 2)
