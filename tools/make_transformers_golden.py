#!/usr/bin/env python3
"""Tiny language models as transformers itself saves them, random weights moved off their ordinary values: one for each
class, and for each form of a class, that anemone's tables have beside those of decoders.tar.xz.

usage: make_transformers_golden.py OUT.tar.xz [others]
(torch, transformers 4 or 5; the folders are called by its version; `others`: models that are no decoders)
"""
import io
import lzma
import pathlib
import sys
import tarfile
import tempfile

import torch
import transformers as t

SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=32, max_position_embeddings=64)
OLD = dict(n_embd=16, n_layer=2, n_head=4, n_inner=24, vocab_size=32, n_positions=64)
MODELS = {
    "llama_biases": ("LlamaConfig", dict(SIZES, attention_bias=True, mlp_bias=True)),
    "llama_tied": ("LlamaConfig", dict(SIZES, tie_word_embeddings=True)),
    "llama_wide_heads": ("LlamaConfig", dict(SIZES, head_dim=8)),
    "llama_linear_rope": ("LlamaConfig", dict(SIZES, rope_scaling={"rope_type": "linear", "factor": 4.0})),
    "llama31": ("LlamaConfig", dict(SIZES, max_position_embeddings=131072, rope_theta=500000.0, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192})),
    "mistral_wide_heads": ("MistralConfig", dict(SIZES, head_dim=8, sliding_window=None)),
    "qwen2_tied": ("Qwen2Config", dict(SIZES, tie_word_embeddings=True)),
    "qwen3": ("Qwen3Config", dict(SIZES, head_dim=8)),
    "qwen3_moe": ("Qwen3MoeConfig", dict(SIZES, head_dim=8, num_experts=4, num_experts_per_tok=2,
                                         moe_intermediate_size=8, norm_topk_prob=True)),
    "nemotron": ("NemotronConfig", dict(SIZES, head_dim=4)),
    "phi3": ("Phi3Config", dict(SIZES, pad_token_id=0)),
    "falcon_7b": ("FalconConfig", dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, vocab_size=32,
                                       multi_query=True, parallel_attn=True, new_decoder_architecture=False,
                                       bias=False, alibi=False)),
    "falcon_sequential": ("FalconConfig", dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                                               vocab_size=32, multi_query=False, parallel_attn=False,
                                               new_decoder_architecture=False, bias=True, alibi=False)),
    "gpt2": ("GPT2Config", OLD),
    "gpt2_untied": ("GPT2Config", dict(OLD, tie_word_embeddings=False)),
}

BERT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, vocab_size=200,
            max_position_embeddings=32)
T5 = dict(d_model=16, d_kv=8, d_ff=24, num_layers=2, num_decoder_layers=3, num_heads=4, vocab_size=128,
          feed_forward_proj="gated-gelu", tie_word_embeddings=False)
CLIP = dict(model_type="clip_vision_model", hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2,
            image_size=28, patch_size=14, projection_dim=8)
SIGLIP = dict(model_type="siglip_vision_model", hidden_size=8, intermediate_size=12, num_hidden_layers=3,
              num_attention_heads=2, image_size=28, patch_size=14, vision_use_head=False)


def llava(vision: dict, text: str, **words) -> dict:
    return dict(vision_config=vision, text_config=dict(SIZES, model_type=text, **words), image_token_index=31)


OTHERS = {
    "bert_pretraining": ("BertConfig", BERT, "BertForPreTraining"),
    "bert_masked_lm": ("BertConfig", dict(BERT, hidden_act="gelu_new"), "BertForMaskedLM"),
    "t5_v1_1": ("T5Config", T5, "T5ForConditionalGeneration"),
    "mt5": ("MT5Config", T5, "MT5ForConditionalGeneration"),
    "llava_clip": ("LlavaConfig", llava(CLIP, "llama"), "LlavaForConditionalGeneration"),
    "llava_siglip_mistral": ("LlavaConfig", llava(SIGLIP, "mistral", sliding_window=None),
                             "LlavaForConditionalGeneration"),
}


def new_model(config: str, words: dict, model: str = "AutoModelForCausalLM"):
    made = getattr(t, config)(**words)
    return getattr(t, model).from_config(made) if model.startswith("Auto") else getattr(t, model)(made)


def main() -> None:
    torch.manual_seed(20261128)
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        others = sys.argv[2:] == ["others"]
        top = f"transformers{t.__version__.split('.')[0]}" + ("_others" if others else "")
        for name, (config, *rest) in (OTHERS if others else MODELS).items():
            if not hasattr(t, config) or (name == "llama_wide_heads" and top == "transformers4"):
                continue  # a class, or a key of one, that came later
            model = new_model(config, *rest)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            model.save_pretrained(pathlib.Path(folder) / name)
            for file in sorted((pathlib.Path(folder) / name).iterdir()):
                data = file.read_bytes()
                info = tarfile.TarInfo(f"{top}/{name}/{file.name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    with open(sys.argv[1], "wb") as f:
        f.write(lzma.compress(out.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
