#!/usr/bin/env python3
"""A tiny RecurrentGemma as transformers saves it, and what NeMo's own converters make of it, both ways.

usage: make_griffin_golden.py OUT.tar.xz NEMO
(torch, transformers, omegaconf; NEMO: a checkout of NeMo v2.0.0, whose two scripts run. Its modules are stubs: the importer's
state dict is stored as the script hands it to NeMo's model, griffin/nemo.pt; griffin/exported is what the exporter saves of it.
The exporter's sizes of queries, keys and values, those of the 2B model, are replaced by this one's.)
"""
import collections
import io
import logging
import lzma
import pathlib
import runpy
import sys
import tarfile
import tempfile
import types

import torch
import transformers

SIZES = dict(num_hidden_layers=4, vocab_size=96, hidden_size=16, intermediate_size=48, num_attention_heads=4, num_key_value_heads=1,
             lru_width=16, attention_window_size=8, bos_token_id=2, eos_token_id=1, pad_token_id=0)
SCRIPTS = "scripts/checkpoint_converters"


class Model:
    """In the place of NeMo's MegatronGriffinModel."""
    stored = {}

    def __init__(self, cfg, trainer):
        pass

    @classmethod
    def restore_from(cls, path, trainer):
        return cls(None, trainer)

    def state_dict(self):
        return collections.defaultdict(lambda: None, Model.stored)

    def load_state_dict(self, state, strict):
        Model.stored = dict(state)

    def to(self, dtype):
        return self

    def save_to(self, path):
        torch.save(Model.stored, path)


def stub(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    parts = name.split(".")
    for i in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    sys.modules[name] = module


def run(script, arguments, replaced=("", "")):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, script.name)
        copy.write_text(script.read_text().replace(*replaced))
        (pathlib.Path(folder) / "model.yaml").write_text(f"trainer: {{precision: 32}}\nmodel: {{num_layers: {SIZES['num_hidden_layers']}}}\n")
        sys.argv = [str(copy), "--hparams_file", f"{folder}/model.yaml", *arguments]
        runpy.run_path(str(copy), run_name="__main__")


def main():
    out, nemo = sys.argv[1], pathlib.Path(sys.argv[2])
    stub("nemo.collections.nlp.models.language_modeling.megatron_griffin_model", MegatronGriffinModel=Model)
    stub("nemo.collections.nlp.parts.megatron_trainer_builder",
         MegatronLMPPTrainerBuilder=lambda cfg: types.SimpleNamespace(create_trainer=lambda: None))
    stub("nemo.collections.nlp.parts.utils_funcs", torch_dtype_from_precision=lambda precision: torch.float32)
    stub("nemo.utils", logging=logging)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder, "griffin")
        torch.manual_seed(7)
        config = transformers.RecurrentGemmaConfig(**SIZES)
        model = transformers.RecurrentGemmaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(root / "hf")
        run(nemo / SCRIPTS / "convert_griffin_hf_to_nemo.py",
            ["--input_name_or_path", str(root / "hf"), "--output_path", str(root / "nemo.pt")])
        transformers.AutoConfig.from_pretrained = lambda name: config
        run(nemo / SCRIPTS / "convert_griffin_nemo_to_hf.py",
            ["--input_path", "", "--output_path", str(root / "exported")], ("[2560, 256, 256]", "[16, 4, 4]"))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(root, "griffin")
        pathlib.Path(out).write_bytes(lzma.compress(packed.getvalue()))


if __name__ == "__main__":
    main()
