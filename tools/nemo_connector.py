"""What anemone writes, restored by NeMo's own SaveRestoreConnector.

usage: nemo_connector.py NEMO_GIT_DIR ANEMONE CHECKPOINT.nemo…

Takes nemo/core/connectors/save_restore_connector.py and nemo/utils/model_utils.py out of a clone of NVIDIA/NeMo (v2.0.0) into a
temporary folder, with the least of the modules they import beside them, and runs them as they are, on a CPU. Each CHECKPOINT (by
NeMo itself) is written anew by anemone: as it is, as an unpacked folder, and from there packed. Every rank of each is restored
strictly into a module tree that the original's names and shapes make; configs, weights, extra states and artifacts must be the
original's. Needs torch, omegaconf and pytorch_lightning (or none: a stand-in then).
"""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import types

os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # as the torch of NeMo 2.0.0's days: extra states are BytesIO

import torch  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from module_tree import grow  # noqa: E402

TAG = "v2.0.0"
SOURCES = ("nemo/core/connectors/save_restore_connector.py", "nemo/utils/model_utils.py")


class AppState:
    """The only one: what parallel ranks NeMo believes to be."""

    state = {}

    def __getattr__(self, name):
        return self.state.get(name)

    def __setattr__(self, name, value):
        self.state[name] = value


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__path__ = []
    module.__dict__.update(members)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def load_nemo(git_dir):
    silent = types.SimpleNamespace(info=lambda *a, **k: None, warning=lambda *a, **k: None, error=print)
    for name in ("nemo", "nemo.core", "nemo.core.connectors"):
        stand_in(name)
    stand_in("nemo.core.classes", ModelPT=torch.nn.Module)
    stand_in("nemo.utils", AppState=AppState, logging=silent)
    stand_in("nemo.utils.app_state", AppState=AppState)
    stand_in("nemo.utils.get_rank", is_global_rank_zero=lambda: True)
    stand_in("nemo.utils.data_utils", resolve_cache_dir=None, is_datastore_path=None)
    if "wrapt" not in sys.modules:
        stand_in("wrapt", decorator=lambda f: f)
    try:
        import pytorch_lightning.trainer.trainer  # noqa: F401
    except ImportError:
        stand_in("pytorch_lightning")
        stand_in("pytorch_lightning.trainer")
        stand_in("pytorch_lightning.trainer.trainer", Trainer=object)
    with tempfile.TemporaryDirectory() as folder:
        for source in reversed(SOURCES):
            text = subprocess.run(["git", "--git-dir", git_dir, "show", f"{TAG}:{source}"], check=True, capture_output=True).stdout
            path = os.path.join(folder, os.path.basename(source))
            with open(path, "wb") as file:
                file.write(text)
            module = stand_in(source[:-3].replace("/", "."))
            exec(compile(text, path, "exec"), module.__dict__)
    return sys.modules["nemo.core.connectors.save_restore_connector"].SaveRestoreConnector


def build(state):
    """The module tree with these names; every value still unset."""
    return grow(torch.nn.Module(), state, lambda module, name, value: module.register_buffer(name, torch.full_like(value, 77)))


def same(a, b, where):
    assert type(a) is type(b), f"{where}: {type(a)} for {type(b)}"
    if isinstance(a, torch.Tensor):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert a.numel() == 0 or torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8)), where
    elif isinstance(a, io.BytesIO):
        assert a.getvalue() == b.getvalue(), where
    else:
        assert a == b, where


def ranks_of(path):
    """[(tp, pp, weights' member)] and the sizes."""
    with tarfile.open(path) as tar:
        weights = sorted(os.path.normpath(m.name) for m in tar if m.name.endswith("model_weights.ckpt"))
    found = []
    for name in weights:
        digits = [int("".join(c for c in part if c.isdigit())) for part in name.split("/")[0].split("pp_rank")] if "/" in name else [0]
        found.append((digits[0], digits[1] if len(digits) > 1 else 0, name))
    return found, max(t for t, _, _ in found) + 1, max(p for _, p, _ in found) + 1


def restore(connector_class, path, original, extracted=None):
    with tarfile.open(original) as tar:
        members = {os.path.normpath(m.name): tar.extractfile(m).read() for m in tar if m.isfile()}
    ranks, tp, pp = ranks_of(original)
    config = OmegaConf.create(members["model_config.yaml"].decode())
    connector = connector_class()
    connector.model_extracted_dir = extracted
    assert connector.restore_from(None, path, return_config=True) == config, "config"
    for tp_rank, pp_rank, name in ranks:
        AppState.state = {"model_parallel_size": tp * pp, "tensor_model_parallel_size": tp, "pipeline_model_parallel_size": pp,
                          "tensor_model_parallel_rank": tp_rank, "pipeline_model_parallel_rank": pp_rank}
        expected = torch.load(io.BytesIO(members[name]), map_location="cpu")
        artifacts = {}

        class Model:
            @staticmethod
            def _set_model_restore_state(is_being_restored, folder=None):
                AppState().nemo_file_folder = folder

            @staticmethod
            def from_config_dict(config, trainer):
                model = build(expected)
                model._set_model_restore_state = Model._set_model_restore_state
                model.artifacts = {}
                for key in flat(config):
                    source = OmegaConf.select(config, key)
                    if isinstance(source, str) and source.startswith("nemo:"):
                        with open(connector.register_artifact(model, key, source), "rb") as file:
                            artifacts[source[5:]] = file.read()
                return model

        if config.get("megatron_amp_O2", False):
            expected = {k.replace("model.", "model.module.", 1): v for k, v in expected.items()}  # the wrapper's own names
        model = connector.restore_from(Model, path, map_location=torch.device("cpu"), strict=True)
        state = model.state_dict()
        assert sorted(state) == sorted(expected), name
        for key, value in expected.items():
            same(state[key], value, f"{name}: {key}")
        for artifact, content in artifacts.items():
            assert members[artifact] == content, artifact
        print(f"    {name}: {len(state)} entries, {len(artifacts)} artifacts")


def flat(config, prefix=""):
    for key in config:
        path = f"{prefix}.{key}" if prefix else str(key)
        value = config._get_node(key)
        if OmegaConf.is_dict(value) and not value._is_none():
            yield from flat(value, path)
        else:
            yield path


def main(git_dir, anemone, *checkpoints):
    connector = load_nemo(git_dir)
    for original in checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            written, unpacked, packed = (os.path.join(folder, name) for name in ("x.nemo", "folder", "y.nemo"))
            subprocess.run([anemone, "-q", "convert", original, written], check=True)
            subprocess.run([anemone, "-q", "convert", original, unpacked, "--to", "nemo-dir"], check=True)
            subprocess.run([anemone, "-q", "pack", unpacked, packed], check=True)
            for what, path, extracted in (("converted", written, None), ("unpacked", original, unpacked), ("packed", packed, None)):
                print(f"{os.path.basename(original)}, {what}:")
                restore(connector, path, original, extracted)
    print("all restored by NeMo's SaveRestoreConnector")


if __name__ == "__main__":
    main(*sys.argv[1:])
