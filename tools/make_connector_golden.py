#!/usr/bin/env python3
"""What NVIDIA's own connectors make of small models of transformers: tests/golden/connectors.tar.xz.

usage: make_connector_golden.py models DIR              (torch, transformers 5)
       make_connector_golden.py bridge DIR ANEMONE      (PYTHONPATH: Megatron-LM d98e8a6, Megatron-Bridge 067f987 src)
       make_connector_golden.py nemo2 DIR ANEMONE       (megatron-core 0.16; PYTHONPATH: NeMo v2.4.0)

`models` writes DIR/connectors/NAME/hf, random weights in bf16 and sizes that no two axes share. `bridge` and `nemo2` write a list beside it,
bridge.txt and nemo2.txt: a line for each tensor of the other side, its name, dtype, shape and the SHA-256 of its bytes. The bytes come of the
connectors' unmodified mappings, run both ways: what they make of hf/, which must give hf/ back; names and shapes are those that ANEMONE writes.
Each tensor of hf/ must be used. What the mappings never call (Transformer Engine, Lightning, LoRAs) is replaced by empty classes.
tests/golden/connectors.tar.xz is DIR, packed as tools/make_golden_pack.sh packs.
"""
import glob
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types
import typing

os.environ["HF_HUB_OFFLINE"] = "1"
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

if not hasattr(typing, "override"):
    typing.override = lambda function: function  # Megatron-core 0.19 and later ask for Python 3.12

SIZES = dict(hidden_size=24, intermediate_size=22, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, vocab_size=37,
             max_position_embeddings=48, pad_token_id=0)
MLA = dict(SIZES, num_key_value_heads=6, kv_lora_rank=8, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=10, moe_intermediate_size=14,
           n_routed_experts=8, first_k_dense_replace=1, n_group=4, topk_group=2)
# The class, NeMo's module and importer or "", Megatron-Bridge's module and bridge or "", and the words of config.json.
MODELS = {
    "llama": ("Llama", "llama.HFLlama", "llama.llama_bridge.LlamaBridge", dict(SIZES, head_dim=10, num_key_value_heads=3)),
    "mistral": ("Mistral", "mistral.HFMistral", "mistral.mistral_bridge.MistralBridge", dict(SIZES, head_dim=8, num_key_value_heads=1)),
    "mixtral": ("Mixtral", "mixtral.HFMixtral", "", dict(SIZES, num_local_experts=3, num_experts_per_tok=2, sliding_window=None)),
    "qwen2": ("Qwen2", "qwen2.HFQwen2", "qwen.qwen2_bridge.Qwen2Bridge", dict(SIZES)),
    "qwen3": ("Qwen3", "qwen3.HFQwen3", "qwen.qwen3_bridge.Qwen3Bridge", dict(SIZES, head_dim=10, tie_word_embeddings=True)),
    "qwen3_moe": ("Qwen3Moe", "qwen3.HFQwen3", "qwen.qwen3_moe_bridge.Qwen3MoEBridge",
                  dict(SIZES, head_dim=10, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=14, norm_topk_prob=True)),
    "deepseek_v2": ("DeepseekV2", "deepseek.HFDeepSeek", "deepseek.deepseek_v2_bridge.DeepSeekV2Bridge",
                    dict(MLA, q_lora_rank=None, n_shared_experts=2, num_experts_per_tok=2, topk_method="group_limited_greedy")),
    "deepseek_v3": ("DeepseekV3", "deepseek.HFDeepSeek", "deepseek.deepseek_v3_bridge.DeepSeekV3Bridge",
                    dict(MLA, q_lora_rank=9, n_shared_experts=1, num_experts_per_tok=4)),
    "gemma": ("Gemma", "gemma.HFGemma", "gemma.gemma_bridge.GemmaBridge", dict(SIZES, head_dim=10)),
    "gemma2": ("Gemma2", "gemma2.HFGemma", "gemma.gemma2_bridge.Gemma2Bridge", dict(SIZES, head_dim=10, query_pre_attn_scalar=12)),
    "gemma3": ("Gemma3", "gemma3.HFGemma3", "gemma.gemma3_bridge.Gemma3ModelBridge", dict(SIZES, head_dim=10)),
    "nemotron": ("Nemotron", "nemotron.HFNemotron", "nemotron.nemotron_bridge.NemotronBridge", dict(SIZES, head_dim=10)),
    "starcoder2": ("Starcoder2", "starcoder2.HFStarcoder2", "", dict(SIZES, tie_word_embeddings=False)),
    "phi3": ("Phi3", "phi3mini.HFPhi3", "", dict(SIZES)),
    "starcoder": ("GPTBigCode", "starcoder.HFStarcoder", "", dict(n_embd=24, n_head=4, n_layer=2, n_inner=22, vocab_size=37, n_positions=40)),
}


def config_class(name: str):
    return getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(name, name + "Config"))


def write_models(folder: pathlib.Path) -> None:
    torch.manual_seed(20261130)
    for name, (kind, _, _, words) in MODELS.items():
        model = getattr(transformers, kind + "ForCausalLM")(config_class(kind)(bos_token_id=1, eos_token_id=2, **words)).bfloat16()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter))
        model.save_pretrained(folder / name / "hf")


# ---- stand-ins ----

class Empty(type):
    """A class of which every attribute is another one."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (), {"__init__": lambda self, *_, **__: None})

    def __getitem__(cls, item):
        return cls

    __or__ = __ror__ = lambda cls, other: cls


class Module(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = Empty(name, (), {"__init__": lambda self, *_, **__: None})
        setattr(self, name, value)
        return value


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names):
        self.names = tuple(names)

    def find_spec(self, name, path=None, target=None):
        is_ours = any(name == known or name.startswith(known + ".") for known in self.names)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_ours else None

    def create_module(self, spec):
        module = Module(spec.name)
        module.__path__, module.__version__ = [], "2.0.0"
        return module

    def exec_module(self, module):
        pass


def package(name: str, kind: type = types.ModuleType) -> types.ModuleType:
    """A package without what its __init__ would import."""
    paths = [os.path.join(entry, *name.split(".")) for entry in sys.path]
    module = kind(name)
    module.__path__ = [path for path in paths if os.path.isdir(path)]
    sys.modules[name] = module
    if "." in name:
        setattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], module)
    return module


# ---- what both have ----

def ours(anemone: str, hf: str, to: str) -> dict:
    """The tensors of ANEMONE's output, which give names and shapes."""
    with tempfile.TemporaryDirectory() as folder:
        for source, destination, *options in ((hf, folder + "/there", "--to", to), (folder + "/there", folder + "/x.safetensors")):
            subprocess.run([anemone, "convert", source, destination, *options], check=True, capture_output=True)
        return load_file(folder + "/x.safetensors")


def write_list(path: pathlib.Path, tensors: dict) -> None:
    names = {torch.bfloat16: "BF16", torch.float32: "F32"}
    lines = []
    for name, tensor in sorted(tensors.items()):
        content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        shape = ",".join(map(str, tensor.shape))
        lines.append(f"{name} {names[tensor.dtype]} {shape} {hashlib.sha256(content).hexdigest()}\n")
    path.write_text("".join(lines))


def check_back(name: str, hf: dict, back: dict) -> None:
    for key, tensor in hf.items():
        if key not in back or not torch.equal(back[key], tensor):
            raise SystemExit(f"{name}: {key} does not come back")


# ---- Megatron-Bridge ----

def bridge_lists(folder: pathlib.Path, anemone: str) -> None:
    import megatron.core  # noqa: F401  without stand-ins
    sys.meta_path.append(Finder(["transformer_engine", "omegaconf", "modelopt", "nvidia_resiliency_ext", "wandb", "hydra"]))
    for name in ("", ".models", *(".models." + kind for kind in ("llama", "mistral", "qwen", "deepseek", "gemma", "nemotron", "gpt", "conversion",
                                                                "decorators", "common"))):
        package("megatron.bridge" + name)
    package("megatron.bridge.models.hf_pretrained", Module)
    for name in ("peft_bridge", "quant_bridge"):
        sys.modules["megatron.bridge.models.conversion." + name] = Module(name)
    for name, (kind, _, connector, _) in MODELS.items():
        if not connector:
            continue
        module, _, bridge_class = connector.rpartition(".")
        hf = load_file(folder / name / "hf" / "model.safetensors")
        bridge = getattr(importlib.import_module("megatron.bridge.models." + module), bridge_class)()
        bridge.hf_config = config_class(kind).from_pretrained(folder / name / "hf")
        source = types.SimpleNamespace(get_all_keys=lambda hf=hf: list(hf))
        bridge.hf_pretrained = types.SimpleNamespace(config=bridge.hf_config, generation_config=None, model_name_or_path=str(folder / name / "hf"),
                                                     state=types.SimpleNamespace(source=source))
        layer = type("ReplicatedNorm", (torch.nn.Module,), {})()  # one rank has all of everything
        layer.config = bridge.provider_bridge(bridge.hf_pretrained)
        layer.config.kv_channels = layer.config.kv_channels or layer.config.hidden_size // layer.config.num_attention_heads
        registry, made, back = bridge.mapping_registry(), {}, {}
        for key, tensor in ours(anemone, str(folder / name / "hf"), "megatron-bridge").items():
            mapping = registry.megatron_to_hf_lookup(key.removeprefix("model."))
            layer.weight = torch.nn.Parameter(tensor.clone(), requires_grad=False)
            made[key] = mapping.hf_to_megatron(bridge.maybe_modify_loaded_hf_weight(mapping.hf_param, hf), layer)
            back.update(mapping.megatron_to_hf(made[key], layer))
        check_back(name, hf, back)
        write_list(folder / name / "bridge.txt", made)


# ---- NeMo 2 ----

READY = [False]


def nemo_modules() -> None:
    sys.meta_path.insert(0, Finder([
        "transformer_engine", "lightning", "nemo_run", "fiddle", "omegaconf", "hydra", "peft", "nemo.collections.llm.utils",
        "nemo.lightning.megatron_parallel", "nemo.lightning.pytorch.optim", "nemo.export", "nemo.lightning.ckpt_utils", "nemo.lightning.io.pl",
        "nemo.collections.common"]))
    for name in ("nemo", "nemo.utils", "nemo.lightning", "nemo.lightning.io", "nemo.lightning.pytorch", "nemo.collections", "nemo.collections.llm",
                 "nemo.collections.llm.gpt", "nemo.collections.llm.gpt.model"):
        package(name, Module)
    imports = sys.modules["nemo.utils.import_utils"] = Module("nemo.utils.import_utils")
    imports.safe_import = lambda *_, **__: (None, False)
    imports.safe_import_from = lambda _, name, **__: (Empty(name, (), {}), False)
    utils = sys.modules["nemo.lightning.pytorch.utils"] = Module("nemo.lightning.pytorch.utils")
    utils.extract_dtypes = lambda named: {name: value.dtype for name, value in named}
    llm, lightning, io = (sys.modules[name] for name in ("nemo.collections.llm", "nemo.lightning", "nemo.lightning.io"))
    llm.fn = Module("fn")
    llm.fn.FNMixin = type("FNMixin", (), {})
    lightning.io = io
    io.IOMixin = type("IOMixin", (), {})
    io.ModelConnector = type("ModelConnector", (type(pathlib.Path()),), {"__class_getitem__": classmethod(lambda cls, item: cls)})
    io.model_importer = io.model_exporter = lambda *_, **__: lambda kind: kind
    sys.modules["nemo.utils"].logging = __import__("logging").getLogger("nemo")
    state = importlib.import_module("nemo.lightning.io.state")
    for name in ("state_transform", "apply_transforms", "TransformFns", "TransformCTX"):
        setattr(io, name, getattr(state, name))


def tree(tensors: dict, config, is_empty: bool):
    """Modules with parameters of these names, of NaN where they are to be filled."""
    from megatron.core.transformer.identity_op import IdentityOp
    from megatron.core.transformer.module import MegatronModule

    class Tree(MegatronModule):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def __getitem__(self, index):
            return self._modules[str(index)]

        def __getattr__(self, name):
            return IdentityOp() if READY[0] and name.endswith("_layernorm") and name not in self._modules else super().__getattr__(name)

    READY[0] = False
    root = Tree()
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            module = module._modules.setdefault(part, Tree())
        value = torch.full_like(tensor, float("nan")) if is_empty else tensor.clone()
        if leaf in ("expert_bias", "e_score_correction_bias"):
            module.register_buffer(leaf, value)
        else:
            module.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))
    root.config = config
    READY[0] = True
    return root


class Whole(torch.nn.Module):
    """A model around its `module`, as Lightning has it."""

    def __init__(self, module, config):
        super().__init__()
        self.module, self.config = module, config

    def state_dict(self):
        return self.module.state_dict()

    def named_parameters(self):
        return self.module.named_parameters()


def nemo2_lists(folder: pathlib.Path, anemone: str) -> None:
    nemo_modules()
    import yaml
    for name, (kind, connector, _, _) in MODELS.items():
        path = folder / name / "hf"
        hf, config = load_file(path / "model.safetensors"), config_class(kind).from_pretrained(path)
        with tempfile.TemporaryDirectory() as temp:
            subprocess.run([anemone, "convert", str(path), temp + "/n", "--to", "nemo2"], check=True, capture_output=True)
            said = yaml.safe_load(pathlib.Path(temp, "n", "context", "model.yaml").read_text())["config"]
        words = types.SimpleNamespace(**{"num_moe_experts": None, **said})
        if getattr(words, "kv_channels", None) is None:
            words.kv_channels = words.hidden_size // words.num_attention_heads

        def nemos(key):  # grouped experts, but for Mixtral's, whose layers are apart
            key = key.removeprefix("model.")
            return key if kind == "Mixtral" else re.sub(r"experts\.local_experts\.(\d+)\.(linear_fc\d)\.weight", r"experts.\2.weight\1", key)

        names = {nemos(key): key for key in ours(anemone, str(path), "nemo2")}
        shapes = {nemos(key): tensor for key, tensor in ours(anemone, str(path), "nemo2").items()}
        # A tied model has one more name for its embedding, as transformers' state dict has.
        table = hf.get("model.embed_tokens.weight", hf.get("transformer.wte.weight"))
        source_state = dict(hf, **({} if "lm_head.weight" in hf else {"lm_head.weight": table}))
        config.__dict__.update(tie_word_embeddings=bool(words.share_embeddings_and_output_weights), num_experts=getattr(config, "num_experts", 0),
                               first_k_dense_replace=getattr(config, "first_k_dense_replace", 0))
        module_name, _, prefix = connector.rpartition(".")
        module = importlib.import_module("nemo.collections.llm.gpt.model." + module_name)
        importer, exporter = (getattr(module, prefix + end) for end in ("Importer", "Exporter"))
        importer.config, exporter.config, exporter.tokenizer = words, config, types.SimpleNamespace(vocab_size=config.vocab_size)
        sys.modules["nemo.lightning.io"].load_context = lambda *_, **__: words
        reader = importer(str(path))
        reader.convert_mtp = False
        layers = types.SimpleNamespace(layers=[None] * words.num_layers, embed_tokens=types.SimpleNamespace(weight=table))
        source = types.SimpleNamespace(state_dict=lambda: dict(source_state), config=config, model=layers,
                                       lm_head=types.SimpleNamespace(weight=source_state["lm_head.weight"]))
        target = Whole(tree(shapes, words, is_empty=True), words)
        reader.convert_state(source, target)
        made = dict(target.module.state_dict())
        if any(torch.isnan(tensor).any() for tensor in made.values()):
            raise SystemExit(f"{name}: some tensors are not filled")
        wanted = source_state if not words.share_embeddings_and_output_weights else hf
        empty = tree(wanted, config, is_empty=True)
        writer = exporter(str(path))
        if kind.startswith("Deepseek"):
            writer.convert_state(dict(made), empty, said)
        else:
            writer.convert_state(Whole(tree(made, words, is_empty=False), words), empty)
        check_back(name, wanted, empty.state_dict())
        write_list(folder / name / "nemo2.txt", {names[key]: tensor for key, tensor in made.items()})


def main() -> None:
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[2]) / "connectors"
    if sys.argv[1] == "models":
        return write_models(folder)
    {"bridge": bridge_lists, "nemo2": nemo2_lists}[sys.argv[1]](folder, sys.argv[3])
    print(f"{len(glob.glob(str(folder / '*' / (sys.argv[1] + '.txt'))))} lists")


if __name__ == "__main__":
    main()
