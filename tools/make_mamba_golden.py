#!/usr/bin/env python3
"""Models with layers of Mamba 2 as transformers, state-spaces and Megatron-core save them; random weights.

    make_mamba_golden.py OUT/mamba
    tar --sort=name --owner=0 --group=0 --mtime=@0 -C OUT -c mamba | xz -9e > tests/golden/mamba.tar.xz

mamba/NAME/hf: config.json and model.safetensors by save_pretrained. mamba/NAME/nemo2: the same model as Megatron-core's MambaModel, its weights
set by the mapping of NeMo's HFNemotronHImporter and saved by dist_checkpointing; context/model.yaml lists all fields as NeMo's io_dump does, with
the class and the values of NAME's. mamba/mamba2/state_spaces: the same model under state-spaces' names; mamba/hybrid/megatron: as
Megatron-LM saves it. Made with transformers 5.24 and
megatron-core 0.14, whose logits are compared here (fp32; then both are saved in bf16).
"""
import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile

import torch
import transformers
import yaml

OUT = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/interop/megatron"))
import mamba_test  # noqa: E402
from core_model import CpuForCuda, answer_as_a_cpu, start  # noqa: E402

SSM = "nemo.collections.llm.gpt.model.ssm."
# What SSMConfig has beside TransformerConfig [NeMo f92e176 ssm.py].
SSM_FIELDS = dict(fp16_lm_cross_entropy=False, parallel_output=True, share_embeddings_and_output_weights=False, fp16=False, bf16=True,
                  hybrid_attention_ratio=0.0, hybrid_mlp_ratio=0.0, post_process=True, pre_process=True, seq_length=8192,
                  position_embedding_type="none", rotary_percent=1.0, rotary_base=10000, seq_len_interpolation_factor=None, apply_rope_fusion=True,
                  make_vocab_size_divisible_by=128, gated_linear_unit=False, normalization="RMSNorm", add_bias_linear=False, hidden_dropout=0.0,
                  attention_dropout=0.0, layernorm_epsilon=1e-5, get_attention_mask_from_fusion=False, vocab_file=None, tokenizer_model_path=None,
                  deallocate_pipeline_outputs=True, bias_dropout_fusion=True, cross_entropy_loss_fusion=True)
NEMOTRON_FIELDS = dict(tokenizer_library="tiktoken", tokenizer_name="TiktokenTokenizer", mapping_type="nvidia-hybrid-nemotronh",
                       masked_softmax_fusion=True, apply_query_key_layer_scaling=False, persist_layer_norm=True, attention_softmax_in_fp32=False,
                       vocab_size=131072, first_last_layers_bf16=True, is_hybrid_model=True)
MODELS = {
    "hybrid": ("NemotronH", dict(vocab_size=64, hidden_size=16, num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=24,
                                 ssm_state_size=4, mamba_num_heads=4, mamba_head_dim=4, n_groups=2, max_position_embeddings=64,
                                 layers_block_type=mamba_test.NANO, time_step_min=0.0),
               dict(_target_=SSM + "NemotronHConfig4B", hidden_size=16, num_layers=5, num_attention_heads=4, num_query_groups=2, kv_channels=8,
                    ffn_hidden_size=24, mamba_state_dim=4, mamba_num_heads=4, mamba_head_dim=4, mamba_num_groups=2,
                    hybrid_override_pattern="M-M*-", seq_length=64, use_mamba_mem_eff_path=False,
                    make_vocab_size_divisible_by=16, activation_func=SSM + "NemotronHConfigBase.<lambda>", **NEMOTRON_FIELDS)),
    "mamba2": ("Mamba2", dict(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4, num_heads=8, head_dim=4, n_groups=1,
                              tie_word_embeddings=True),
               dict(_target_=SSM + "BaseMambaConfig130M", hidden_size=16, num_layers=2, num_attention_heads=1, ffn_hidden_size=16, mamba_state_dim=4,
                    mamba_head_dim=4, mamba_num_groups=1, hybrid_override_pattern="MM", seq_length=64, make_vocab_size_divisible_by=16,
                    tokenizer_library="huggingface", tokenizer_name="EleutherAI/gpt-neox-20b", mapping_type="base",
                    share_embeddings_and_output_weights=True)),
}


# As pretrain_mamba.py saves them, of those that say what the model is [core_v0.14.0 megatron/training/arguments.py].
ARGS = dict(num_layers=5, hidden_size=16, ffn_hidden_size=24, num_attention_heads=4, group_query_attention=True, num_query_groups=2, kv_channels=8,
            max_position_embeddings=64, seq_length=64, position_embedding_type="none", normalization="RMSNorm", norm_epsilon=1e-5, swiglu=False,
            squared_relu=True, add_bias_linear=False, add_qkv_bias=False, untie_embeddings_and_output_weights=True, hidden_dropout=0.0,
            attention_dropout=0.0, hybrid_attention_ratio=0.0, hybrid_mlp_ratio=0.0, hybrid_override_pattern="M-M*-", is_hybrid_model=True,
            mamba_state_dim=4, mamba_head_dim=4, mamba_num_groups=2, mamba_num_heads=4, use_mamba_mem_eff_path=False, tensor_model_parallel_size=1,
            pipeline_model_parallel_size=1, world_size=1, padded_vocab_size=64, make_vocab_size_divisible_by=16, bf16=True, fp16=False,
            params_dtype=torch.bfloat16, init_method_std=0.02, iteration=1, use_legacy_models=False,
            spec=["megatron.core.models.mamba.mamba_layer_specs", "mamba_stack_spec"])


def function(name, call=False):
    return {"_call_": call, "_target_": name}


def model_yaml(own):
    """As nemo.lightning.io.mixin writes it: every field, functions and other objects by name."""
    from megatron.core.transformer.transformer_config import TransformerConfig
    config = {}
    for field in dataclasses.fields(TransformerConfig):
        value = None if field.default is dataclasses.MISSING else field.default
        plain = value is None or isinstance(value, (bool, int, float, str))
        config[field.name] = value if plain else function(getattr(value, "__module__", "") + "." + getattr(value, "__qualname__", type(value).__name__))
    config.update(SSM_FIELDS)
    config["activation_func"] = "torch.nn.functional.gelu"
    config.update(own)
    config["activation_func"] = function(config["activation_func"])
    config["params_dtype"] = function("torch.bfloat16")
    config["forward_step_fn"] = function(SSM + "ssm_forward_step")
    config["mamba_stack_spec"] = function("megatron.core.transformer.spec_utils.ModuleSpec", True)
    return {"_target_": SSM + "MambaModel", "config": config, "model_transform": None, "optim": None, "tokenizer": None}


def to_core(state, said):
    """Each tensor of Megatron-core's model from transformers' state dict, as HFNemotronHImporter maps them."""
    heads, groups = said["num_attention_heads"], said.get("num_query_groups") or said["num_attention_heads"]
    yield "embedding.word_embeddings.weight", state["embeddings.weight"]
    yield "decoder.final_norm.weight", state["norm_f.weight"]
    for i, kind in enumerate(said["hybrid_override_pattern"]):
        own = {name.removeprefix(f"layers.{i}."): value for name, value in state.items() if name.startswith(f"layers.{i}.")}
        core, norm = f"decoder.layers.{i}.", own.pop("norm.weight")
        if kind == "M":
            yield core + "mixer.in_proj.layer_norm_weight", norm
            yield from ((core + name, value) for name, value in own.items())
        elif kind == "-":
            yield core + "mlp.linear_fc1.layer_norm_weight", norm
            yield core + "mlp.linear_fc1.weight", own["mixer.up_proj.weight"]
            yield core + "mlp.linear_fc2.weight", own["mixer.down_proj.weight"]
        else:
            q, k, v = (own[f"mixer.{part}_proj.weight"] for part in "qkv")
            parts = [part for g in range(groups) for part in (q.chunk(groups)[g], k.chunk(groups)[g], v.chunk(groups)[g])]
            yield core + "self_attention.linear_qkv.layer_norm_weight", norm
            yield core + "self_attention.linear_qkv.weight", torch.cat(parts)
            yield core + "self_attention.linear_proj.weight", own["mixer.o_proj.weight"]
    assert heads % groups == 0


def save(name, out):
    from megatron.core import dist_checkpointing
    kind, _, own = MODELS[name]
    said = dict(model_yaml(own)["config"], _target_=SSM + "SSMConfig")
    if name == "hybrid":
        said["activation_func"] = function("nemo.collections.llm.fn.activation.squared_relu")
    said.update(bf16=False, params_dtype=None, apply_rope_fusion=False, bias_dropout_fusion=False)
    said = {key: value for key, value in said.items() if not isinstance(value, dict) or key == "activation_func"}
    said.pop("params_dtype")
    hf = torch.load(out / "state.pt")
    model = mamba_test.core_model(said, 64)
    stored = dict(model.named_parameters())
    for key, value in to_core(hf["state"], said):
        stored.pop(key).data.copy_(value)
    if not said["share_embeddings_and_output_weights"]:
        stored.pop("output_layer.weight").data.copy_(hf["head"])
    assert not stored, stored
    length = hf["ids"].shape[1]
    positions, later = torch.arange(length).expand(hf["ids"].shape), torch.ones(1, 1, length, length, dtype=torch.bool).triu(1)
    with torch.no_grad():
        torch.testing.assert_close(model(hf["ids"], positions, later), hf["logits"], rtol=1e-4, atol=1e-4)
    folder = out / "nemo2"
    (folder / "weights").mkdir(parents=True)
    (folder / "context").mkdir()
    (folder / "context/model.yaml").write_text(yaml.safe_dump(model_yaml(own)))
    dist_checkpointing.save(mamba_test.state_of(model.to(torch.bfloat16)), str(folder / "weights"))
    if name != "hybrid":
        return
    folder = out / "megatron/iter_0000001"
    folder.mkdir(parents=True)
    (out / "megatron/latest_checkpointed_iteration.txt").write_text("1")
    state = mamba_test.state_of(model)
    for value in state.values():
        value.key = value.key.removeprefix("module.")
    common = {"args": argparse.Namespace(**ARGS), "checkpoint_version": 3.0, "iteration": 1}
    dist_checkpointing.save({**common, **state}, str(folder))


def main():
    for name, (kind, sizes, _) in MODELS.items():
        with tempfile.TemporaryDirectory() as work:
            ids, logits = mamba_test.make(kind, sizes, work)
            model = getattr(transformers, kind + "ForCausalLM").from_pretrained(work + "/hf").float()
            backbone = getattr(model, model.base_model_prefix)
            out = OUT / name
            out.mkdir(parents=True)
            torch.save({"state": backbone.state_dict(), "head": model.lm_head.weight, "ids": ids, "logits": logits}, out / "state.pt")
            model.bfloat16().save_pretrained(out / "hf")
            if name == "mamba2":
                state = {"backbone." + key.replace("embeddings.", "embedding."): value for key, value in backbone.state_dict().items()}
                state["lm_head.weight"] = state["backbone.embedding.weight"]
                (out / "state_spaces").mkdir()
                torch.save(state, out / "state_spaces/pytorch_model.bin")
                config = dict(d_model=16, d_intermediate=0, n_layer=2, vocab_size=60, ssm_cfg=dict(layer="Mamba2", d_state=4, headdim=4),
                              attn_layer_idx=[], attn_cfg={}, rms_norm=True, residual_in_fp32=True, fused_add_norm=True, pad_vocab_size_multiple=16,
                              tie_embeddings=True)
                (out / "state_spaces/config.json").write_text(json.dumps(config, indent=4))
    mamba_test.stand_in_for_mamba_ssm()
    with tempfile.TemporaryDirectory() as work, CpuForCuda():
        answer_as_a_cpu()
        start(0, 1, work)
        for name in MODELS:
            save(name, OUT / name)
            (OUT / name / "state.pt").unlink()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":  # Megatron-core starts processes that import this
    main()
