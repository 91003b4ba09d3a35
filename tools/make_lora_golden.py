#!/usr/bin/env python3
"""LoRAs that PEFT made for tiny models of transformers', and what PEFT's own merge makes of both: for each a folder with
base/, adapter/ and merged/. And LoRAs of NeMo's own classes, with a line for each tensor of what they make of a Llama.

usage: make_lora_golden.py OUT.tar.xz LLAMA ADAPTER.nemo...      (torch, transformers, peft, omegaconf)
       make_lora_golden.py OTHERS.tar.xz                         (those of other modules than a decoder's layers)
LLAMA is the Hugging Face folder of decoders.tar.xz. An ADAPTER.nemo is what MegatronGPTSFTModel.add_adapter and
get_peft_state_dict of NeMo v2.0.0 give for that Llama: rank 8, alpha 12, random values.
"""
import hashlib
import io
import lzma
import pathlib
import sys
import tarfile
import tempfile

import peft
import safetensors.torch
import torch
import transformers as t

SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=32, max_position_embeddings=64)
OLD = dict(n_embd=16, n_layer=2, n_head=4, n_inner=24, vocab_size=32, n_positions=64)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MODELS = {
    "llama_default": ("LlamaConfig", SIZES, dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
    "llama_all": ("LlamaConfig", SIZES, dict(r=3, lora_alpha=5, target_modules=ALL)),
    "llama_rslora": ("LlamaConfig", SIZES, dict(r=4, lora_alpha=2, use_rslora=True, target_modules=ALL)),
    "gpt2": ("GPT2Config", OLD, dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
}
# lm_head and embed_tokens: PEFT saves what they adapt, too. LLaVA: PEFT calls modules as transformers 5 has them in memory, other than it
# saves them.
TOWER = dict(model_type="clip_vision_model", hidden_size=12, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
             image_size=28, patch_size=14, projection_dim=8)
OTHERS = {
    "llama_head": ("LlamaConfig", SIZES, dict(r=3, lora_alpha=5, target_modules=["lm_head", "embed_tokens", "q_proj"])),
    "llama_tied": ("LlamaConfig", {**SIZES, "tie_word_embeddings": True}, dict(r=3, target_modules=["embed_tokens"])),
    "llava": ("LlavaConfig", dict(vision_config=TOWER, text_config=dict(model_type="llama", **SIZES), image_token_id=31),
              dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "linear_1"])),
}


# What an adapter of NeMo's adapts, by transformers' names; the fused ones by their parts.
PARTS = {"lora_kqv_adapter": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
         "lora_dense_attention_adapter": ["self_attn.o_proj"],
         "lora_hto4h_adapter": ["mlp.gate_proj", "mlp.up_proj"],
         "lora_4htoh_adapter": ["mlp.down_proj"],
         "q_adapter": ["self_attn.q_proj"], "k_adapter": ["self_attn.k_proj"], "v_adapter": ["self_attn.v_proj"],
         "gate_adapter": ["mlp.gate_proj"], "up_adapter": ["mlp.up_proj"]}


def merged_by_definition(llama: str, adapter: str, heads: int = 8, groups: int = 2, alpha: float = 12) -> list[str]:
    """W + B A alpha / rank in double, rounded once; queries, keys and values of a group lie together in NeMo."""
    weights = safetensors.torch.load_file(pathlib.Path(llama) / "model.safetensors")
    with tarfile.open(adapter) as tar:
        low = torch.load(io.BytesIO(tar.extractfile("./model_weights.ckpt").read()), weights_only=True)
    for key in low:
        if not key.endswith(".linear_in.weight"):
            continue
        module = key[:-len(".linear_in.weight")]
        layer, kind = module.split(".")[3], module.split(".")[-1]
        down, up = low[key].double(), low[module + ".linear_out.weight"].double()
        delta = up @ down * (alpha / down.shape[0])
        parts = [delta]
        if kind == "lora_kqv_adapter":
            each = heads // groups
            rows = delta.view(groups, each + 2, -1, delta.shape[1])
            parts = [part.reshape(-1, delta.shape[1]) for part in (rows[:, :each], rows[:, each], rows[:, each + 1])]
        if kind == "lora_hto4h_adapter":
            parts = delta.chunk(2)
        for name, part in zip(PARTS[kind], parts):
            weight = f"model.layers.{layer}.{name}.weight"
            weights[weight] = (weights[weight].double() + part).float()
    return [f"{name} F32 {','.join(map(str, w.shape))} {hashlib.sha256(w.contiguous().numpy().tobytes()).hexdigest()}\n"
            for name, w in sorted(weights.items())]


def main() -> None:
    torch.manual_seed(20261128)
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as top, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (config, sizes, lora) in (MODELS if len(sys.argv) > 2 else OTHERS).items():
            folder = pathlib.Path(top) / name
            of_class = t.AutoModelForImageTextToText if config == "LlavaConfig" else t.AutoModelForCausalLM
            model = of_class.from_config(getattr(t, config)(**sizes))
            model.save_pretrained(folder / "base")
            adapted = peft.get_peft_model(model, peft.LoraConfig(**lora))
            with torch.no_grad():
                for key, parameter in adapted.named_parameters():
                    if "lora_" in key:
                        parameter.copy_(torch.randn_like(parameter) * 0.2)
            adapted.save_pretrained(folder / "adapter")
            adapted.merge_and_unload().save_pretrained(folder / "merged")
            for file in sorted(folder.rglob("*")):
                if file.suffix in (".json", ".safetensors"):
                    data = file.read_bytes()
                    info = tarfile.TarInfo(f"lora/{file.relative_to(top)}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        for adapter in sys.argv[3:]:
            name = pathlib.Path(adapter).stem
            for file, data in ((f"{name}.nemo", pathlib.Path(adapter).read_bytes()),
                               (f"{name}.sha256", "".join(merged_by_definition(sys.argv[2], adapter)).encode())):
                info = tarfile.TarInfo(f"lora/{file}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    with open(sys.argv[1], "wb") as f:
        f.write(lzma.compress(out.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
