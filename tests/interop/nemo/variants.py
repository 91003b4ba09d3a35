"""Every form a .nemo occurs in, made by tarfile and torch, read by anemone; and nemo → nemo, member by member.

usage: variants.py ANEMONE GOLDEN_DIR [unittest's arguments]
Needs python3-torch and python3-yaml (scripts/deps test).
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import unittest

import torch
import yaml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from folder_case import FolderCase  # noqa: E402

ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])
HASH = "0123456789abcdef0123456789abcdef"


def golden(path):
    return os.path.join(GOLDEN, path)


def members(path):
    """{name: bytes} of an archive or a folder."""
    if os.path.isdir(path):
        files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        return {os.path.relpath(f, path): open(f, "rb").read() for f in files}
    with tarfile.open(path) as tar:
        return {os.path.normpath(m.name): tar.extractfile(m).read() for m in tar if m.isfile()}


def load(data):
    return torch.load(io.BytesIO(data), map_location="cpu")


def save(state, **options):
    data = io.BytesIO()
    torch.save(state, data, **options)
    return data.getvalue()


def pack(path, files, mode="w", format=tarfile.PAX_FORMAT, prefix="./", directories=True, mtime=1.5):
    with tarfile.open(path, mode, format=format) as tar:
        folders = set()
        for name, data in files.items():
            folder = os.path.dirname(prefix + name)
            if directories and folder and folder not in folders:
                folders.add(folder)
                info = tarfile.TarInfo(folder)
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            info = tarfile.TarInfo(prefix + name)
            info.size, info.mtime = len(data), mtime if format == tarfile.PAX_FORMAT else int(mtime)
            tar.addfile(info, io.BytesIO(data))


class Variants(FolderCase):
    def run_anemone(self, *arguments, status=0):
        result = subprocess.run([ANEMONE, *arguments], capture_output=True, text=True)
        self.assertEqual(result.returncode, status, f"anemone {' '.join(arguments)}\n{result.stdout}{result.stderr}")
        return result.stdout + result.stderr

    def assertSameValue(self, actual, expected, where):
        self.assertIs(type(actual), type(expected), where)
        if isinstance(expected, torch.Tensor):
            self.assertEqual((actual.dtype, actual.shape), (expected.dtype, expected.shape), where)
            view = lambda t: t.detach().contiguous().reshape(-1)
            bits = lambda t: view(t).view(torch.uint8).numpy().tobytes() if t.numel() else b""
            self.assertEqual(bits(actual), bits(expected), where)
        elif isinstance(expected, io.BytesIO):
            self.assertEqual((actual.getvalue(), actual.tell()), (expected.getvalue(), expected.tell()), where)
        elif isinstance(expected, dict):
            self.assertEqual(list(actual), list(expected), where)
            for key in expected:
                self.assertSameValue(actual[key], expected[key], f"{where}.{key}")
        else:
            self.assertEqual(actual, expected, where)

    def assertSameNemo(self, actual, expected):
        """The same members; weights equal in names, order, bits and opaque values, the rest byte for byte."""
        ours, theirs = members(actual), members(expected)
        self.assertEqual(sorted(ours), sorted(theirs))
        for name, data in theirs.items():
            if name.endswith("model_weights.ckpt"):
                self.assertSameValue(load(ours[name]), load(data), name)
            elif name.endswith(".yaml"):
                self.assertEqual(yaml.load(ours[name], yaml.BaseLoader), yaml.load(data, yaml.BaseLoader), name)
            else:
                self.assertEqual(ours[name], data, name)

    def test_nemo_to_nemo(self):
        """Written anew or copied, packed or not, nothing changes."""
        for name in ("clip/mcore", "clip/legacy", "clip/mcore_bf16_O2", "clip/mcore_tp2", "clip/legacy_tp2", "clip_pp/mcore_tp2pp2",
                     "clip_pp/legacy_pp2", "gpt/A", "gpt/A_tp2pp2", "siglip/siglip_bf16", "t5/t5_tp2"):
            with self.subTest(name):
                source = golden(name + ".nemo")
                self.run_anemone("convert", source, self.path("x.nemo"), "--force")
                self.assertSameNemo(self.path("x.nemo"), source)
                self.run_anemone("extract", source, self.path("folder"), "--force")
                self.assertEqual(members(self.path("folder")), members(source))
                self.run_anemone("convert", self.path("folder"), self.path("again"), "--to", "nemo-dir", "--force")
                self.assertSameNemo(self.path("again"), source)
                self.run_anemone("pack", self.path("folder"), self.path("y.nemo"), "--force")
                self.assertEqual(members(self.path("y.nemo")), members(source))
                self.run_anemone("diff", self.path("again"), self.path("y.nemo"))
                self.assertIn("ok:", self.run_anemone("verify", self.path("folder")))

    def test_every_tar(self):
        source = golden("clip/mcore_tp2.nemo")
        files = members(source)
        long = {**files, "a/" + "very/" * 30 + "deep.txt": b"x"}
        backwards = dict(reversed(files.items()))
        variants = {"pax": (files, {}), "gnu": (long, {"format": tarfile.GNU_FORMAT}), "pax long": (long, {}),
                    "ustar": (files, {"format": tarfile.USTAR_FORMAT, "mtime": 1}), "no dot": (files, {"prefix": ""}),
                    "no folders": (files, {"directories": False}), "below a folder": (files, {"prefix": "exp/clip/"}),
                    "backwards": (backwards, {}), "gzip": (files, {"mode": "w:gz"}),
                    "gzip, backwards, no dot": (backwards, {"mode": "w:gz", "prefix": ""}),
                    "gzip, gnu": (long, {"mode": "w:gz", "format": tarfile.GNU_FORMAT})}
        for name, (content, options) in variants.items():
            with self.subTest(name):
                pack(self.path("v.nemo"), content, **options)
                self.assertIn("ok:", self.run_anemone("verify", self.path("v.nemo")))
                self.run_anemone("convert", self.path("v.nemo"), self.path("x.nemo"), "--force")
                self.assertEqual({k for k in members(self.path("x.nemo"))}, set(content))
                for rank in ("mp_rank_00", "mp_rank_01"):
                    weights = rank + "/model_weights.ckpt"
                    self.assertSameValue(load(members(self.path("x.nemo"))[weights]), load(files[weights]), name)
                self.assertEqual(self.run_anemone("inspect", self.path("v.nemo"), "--config", "vision.hidden_size").strip(), "64")

    def test_amp_o2_and_foreign_prefixes(self):
        files = members(golden("clip/mcore_bf16_O2.nemo"))
        state = load(files["model_weights.ckpt"])
        files["model_weights.ckpt"] = save({k.replace("model.", "model.module.", 1): v for k, v in state.items()})
        pack(self.path("o2.nemo"), files)
        self.run_anemone("convert", self.path("o2.nemo"), self.path("x.nemo"))
        self.assertEqual(list(load(members(self.path("x.nemo"))["model_weights.ckpt"])), list(state))
        self.run_anemone("diff", self.path("x.nemo"), golden("clip/mcore_bf16_O2.nemo"))

    def test_legacy_torch_files(self):
        files = members(golden("clip/legacy.nemo"))
        state = load(files["model_weights.ckpt"])
        for options in ({"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
            files["model_weights.ckpt"] = save(state, **options)
            pack(self.path("old.nemo"), files)
            self.assertIn("ok:", self.run_anemone("verify", self.path("old.nemo")))
            self.run_anemone("convert", self.path("old.nemo"), self.path("x.nemo"), "--force")
            self.assertSameNemo(self.path("x.nemo"), golden("clip/legacy.nemo"))

    def test_extra_state(self):
        """Of every form: kept as it is, dropped, or demanded."""
        files = members(golden("clip/mcore.nemo"))
        state = load(files["model_weights.ckpt"])
        extra = [k for k in state if k.endswith("_extra_state")]
        fp8 = io.BytesIO(save({"scale_fwd": torch.ones(3)}))
        fp8.seek(0, 2)
        for value in (None, torch.empty(0, dtype=torch.uint8), torch.tensor(list(save(None)), dtype=torch.uint8), fp8):
            state.update({k: value for k in extra})
            files["model_weights.ckpt"] = save(state)
            pack(self.path("e.nemo"), files)
            self.run_anemone("convert", self.path("e.nemo"), self.path("x.nemo"), "--force", "--extra-state", "require")
            self.assertSameNemo(self.path("x.nemo"), self.path("e.nemo"))
            self.run_anemone("convert", self.path("e.nemo"), self.path("x.nemo"), "--force", "--extra-state", "drop")
            self.assertFalse([k for k in load(members(self.path("x.nemo"))["model_weights.ckpt"]) if k.endswith("_extra_state")])
        self.assertIn("expected _extra_state entries",
                      self.run_anemone("convert", self.path("x.nemo"), self.path("y.nemo"), "--extra-state", "require", status=65))

    def test_configs(self):
        """OmegaConf's YAML, references to members, text that stays as it was written."""
        files = members(golden("clip/mcore.nemo"))
        config = files["model_config.yaml"].decode()
        config += ("yaml: {y1: on, octal: 010, sexagesimal: 1:30, tiny: 1e-5, day: 2024-01-02, inf: .inf}\nmissing: ???\n"
                   "ratio: ${vision.hidden_size}\nrelative:\n  a: 3\n  b: ${.a}\n  c: ${..ratio}\n"
                   "env: ${oc.env:NO_SUCH_VARIABLE}\n"
                   f"tok: nemo:{HASH}_vocab.json\n")
        files["model_config.yaml"] = config.encode()
        files[f"{HASH}_vocab.json"] = b"{}"
        pack(self.path("c.nemo"), files)
        value = lambda key: json.loads(self.run_anemone("inspect", self.path("c.nemo"), "--json", "--config", key))
        for key, expected in {"yaml.y1": True, "yaml.octal": 8, "yaml.sexagesimal": 90, "yaml.tiny": 1e-5, "yaml.day": "2024-01-02",
                              "yaml.inf": float("inf"), "ratio": 64, "relative.b": 3, "relative.c": 64}.items():
            self.assertEqual(value(key), expected, key)
        self.run_anemone("convert", self.path("c.nemo"), self.path("x.nemo"))
        text = members(self.path("x.nemo"))["model_config.yaml"].decode()
        for line in ("ratio: ${vision.hidden_size}", "  b: ${.a}", "env: ${oc.env:NO_SUCH_VARIABLE}", f"tok: nemo:{HASH}_vocab.json"):
            self.assertIn(line, text)
        del files[f"{HASH}_vocab.json"]
        pack(self.path("gone.nemo"), files)
        for arguments in (["verify", self.path("gone.nemo")], ["convert", self.path("gone.nemo"), self.path("y.nemo")]):
            result = subprocess.run([ANEMONE, *arguments], capture_output=True, text=True)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(f"{HASH}_vocab.json", result.stdout + result.stderr)
        self.assertFalse(os.path.exists(self.path("y.nemo")))

    def test_half_a_surrogate_pair(self):
        """Python has such a text, and no YAML file that libyaml reads."""
        for cfg, place in (({"x": "\ud800x"}, "x"), ({"a": {"\udc00": 1}}, "a."), ({"a": ["b", "\udfff"]}, "a.1")):
            torch.save({"state_dict": {"w": torch.ones(2)}, "hyper_parameters": {"cfg": cfg}, "pytorch-lightning_version": "2.4.0"},
                       self.path("x.ckpt"))
            said = self.run_anemone("convert", self.path("x.ckpt"), self.path("x.nemo"), status=65)
            self.assertIn(f"{place}", said)
            self.assertIn("expected text that YAML can hold, found half a surrogate pair", said)
            self.assertFalse(os.path.exists(self.path("x.nemo")))
            self.run_anemone("convert", self.path("x.ckpt"), self.path("x.safetensors"), "--force")
        self.run_anemone("convert", self.path("x.ckpt"), self.path("x.nemo"), "--unset", "a")

    def test_ranks_as_folders(self):
        """A sharded folder is one checkpoint; a lost rank is named."""
        self.run_anemone("extract", golden("clip_pp/mcore_tp2pp2.nemo"), self.path("folder"))
        self.assertIn("TP 2 × PP 2", self.run_anemone("inspect", self.path("folder")))
        self.run_anemone("convert", self.path("folder"), self.path("one.nemo"), "--tp", "1", "--pp", "1")
        self.run_anemone("diff", "--canonical", self.path("one.nemo"), golden("clip_pp/mcore.nemo"))
        shutil.rmtree(self.path("folder/tp_rank_01_pp_rank_001"))
        self.assertIn("tp_rank_01_pp_rank_001", self.run_anemone("inspect", self.path("folder"), status=65))

    def test_nemos_scripts_for_language_models(self):
        """megatron_ckpt_to_nemo, convert_zarr_to_torch_dist and convert_nemo1_to_nemo2, by NeMo's flags."""
        layout = ["--gpus_per_node", "1", "--tensor_model_parallel_size", "1", "--pipeline_model_parallel_size", "1", "--model_type", "gpt"]
        folder = golden("gpt_mcore_dist_optim")
        name, = [n for n in os.listdir(folder) if n.endswith("-last")]
        self.run_anemone("nemo", "megatron_ckpt_to_nemo", "--checkpoint_folder", folder, "--checkpoint_name", name, "--hparams_file",
                         os.path.join(folder, "hparams.yaml"), "--nemo_file_path", self.path("run.nemo"), *layout)
        self.assertIn("model_weights/metadata.json", members(self.path("run.nemo")))
        self.assertIn("ok:", self.run_anemone("verify", self.path("run.nemo")))

        zarr = golden("dist/zarr_small/nemo_extracted")
        config = yaml.safe_load(open(os.path.join(zarr, "model_config.yaml")))
        config["tokenizer"]["model"] = None
        with open(self.path("hparams.yaml"), "w") as file:
            yaml.safe_dump({"cfg": config}, file)
        self.run_anemone("nemo", "convert_zarr_to_torch_dist", "--checkpoint_folder", zarr, "--checkpoint_name", "model_weights",
                         "--hparams_file", self.path("hparams.yaml"), "--path_to_save", self.path("dist"), *layout)
        written = members(self.path("dist"))
        self.assertEqual(json.loads(written["model_weights/metadata.json"])["sharded_backend"], "torch_dist")
        self.assertTrue(yaml.safe_load(written["model_config.yaml"])["torch_distributed_checkpoint"])
        self.run_anemone("convert", self.path("dist"), self.path("a.safetensors"))
        self.run_anemone("diff", self.path("a.safetensors"), golden("dist/zarr_small/plain.safetensors"))

        arguments = ["nemo", "convert_nemo1_to_nemo2", "--input_path", golden("gpt/C.nemo"), "--output_path", self.path("two"), "--model_id"]
        self.run_anemone(*arguments, "meta-llama/Llama-2-7b-hf")
        written = members(self.path("two"))
        model = yaml.safe_load(written["context/model.yaml"])
        self.assertEqual(model["config"]["_target_"], "nemo.collections.llm.gpt.model.llama.Llama2Config7B")
        self.assertEqual(model["config"]["hidden_size"], 40)
        self.assertIn("context/" + model["tokenizer"]["model_path"], written)
        self.assertIn(".metadata", "".join(written))
        self.assertIn("ok:", self.run_anemone("verify", self.path("two")))
        self.assertIn("inert:", self.run_anemone("scan", self.path("two")))
        self.assertIn("known are meta-llama/Llama-2-7b-hf", self.run_anemone(*arguments, "gpt-17", "--force", status=64))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:])
