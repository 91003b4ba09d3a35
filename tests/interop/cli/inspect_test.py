"""`inspect` on everything that others wrote: what it calls each, and that the commands it then proposes do what they promise.

usage: inspect_test.py ANEMONE GOLDEN_DIR DEMO_CLIP_DIR
"""

import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

ANEMONE, GOLDEN, DEMO = (os.path.abspath(path) for path in sys.argv[1:4])

# path: what it is (flavour, family, dialect), and by which commands one goes on.
HF, OUT, INFER, RESHARD, PLAIN = "convert --to hf", "convert OUT.nemo", "infer", "reshard", "convert OUT.safetensors"
TABLE = {
    "clip/mcore.nemo": ("nemo", "clip", "mcore", [HF, INFER]),
    "clip/legacy_tp2.nemo": ("nemo", "clip", "legacy", [HF, INFER]),
    "clip/mcore_bf16_O2.nemo": ("nemo", "clip", "mcore", [HF, INFER]),
    "clip_pp/mcore_tp2pp2.nemo": ("nemo", "clip", "mcore", [HF, INFER]),
    "clip/ckpt_mcore/*.ckpt": ("lightning", "clip", "mcore", [OUT]),
    "clip/ckpt_mcore_tp2": ("lightning", "clip", "mcore", [OUT]),
    "clip/hf": ("huggingface", "clip", "hf", [OUT]),
    "clip/hf_with_position_ids.bin": ("pytorch", "clip", "hf", [OUT]),
    "openclip/openai.pt": ("torchscript", "clip", "openclip", [OUT]),
    "openclip/epoch_3.pt": ("pytorch", "clip", "openclip", [OUT]),
    "openclip/epoch_3.safetensors": ("safetensors", None, None, []),
    "siglip/hf_siglip": ("huggingface", "siglip", "hf", [OUT]),
    "siglip/siglip_32.nemo": ("nemo", "siglip", "mcore", [HF]),  # it holds no tokenizer for infer
    "gpt/A_tp2pp2.nemo": ("nemo", "gpt", "legacy", [HF, RESHARD]),
    "gpt/C.nemo": ("nemo", "gpt", "mcore", [HF, RESHARD]),
    "gpt/Z.nemo": ("nemo", "gpt", "mcore", [HF, RESHARD]),
    "gpt/A.nemo.params.pt": ("pytorch", "gpt", "legacy", [PLAIN]),
    "gpt_vp": ("lightning", "gpt", "legacy", [OUT]),
    "gpt_mcore_dist_optim/megatron*": ("torch_dist", "gpt", "mcore", [OUT]),
    "gpt_fused_adam_dist/megatron*": ("torch_dist", "gpt", "mcore", [OUT]),
    "dist/nemo2_llama/nemo": ("nemo2", "gpt", "mcore", [HF, OUT]),
    "dist/torch_dist_small/nemo_extracted": ("nemo-dir", "gpt", "mcore", [HF, RESHARD]),
    "dist/torch_dist_small/nemo_extracted/model_weights": ("torch_dist", "gpt", "mcore", [OUT]),
    "dist/zarr_small/nemo_extracted/model_weights": ("zarr", "gpt", "mcore", ["convert --to torch_dist"]),
    "dist/mcore_direct_torch_dist": ("torch_dist", None, None, [OUT]),
    "dist_torch_2.15/plain_dcp": ("torch_dist", None, None, [OUT]),
    "t5/t5_tp2pp2.nemo": ("nemo", "t5", "legacy", [PLAIN, RESHARD]),
    "megatron/mlm19-dist-tp1-llama/ckpt": ("megatron", "gpt", "mcore", [HF, OUT]),  # its arguments lie in a .distcp
    "megatron/mlm09-torch-tp2pp2-legacy-gpt2/ckpt": ("megatron", "gpt", "megatron-lm", [HF, OUT]),
    "megatron/mlm09-torch-tp2pp2-legacy-gpt2/ckpt/iter_0000010/mp_rank_00_000/model_optim_rng.pt": ("megatron", "gpt", "megatron-lm", [HF]),
    "megatron/mlm20-torch-pp2vpp2-llama/ckpt/iter_0000010": ("megatron", "gpt", "mcore", [HF, OUT]),
    "megatron/experts-adam/ckpt": ("megatron", "gpt", "mcore", [HF, OUT]),
    "megatron/fsdp-llama/ckpt": ("megatron", "gpt", "mcore", [HF, OUT]),
    "megatron/mb031-provider-llama/ckpt": ("megatron-bridge", "gpt", "mcore", [HF, OUT]),
    "megatron/mb07-builder-llama/ckpt": ("megatron-bridge", "gpt", "mcore", [HF, OUT]),
    DEMO: ("huggingface", "clip", "hf", [OUT]),
}


def run(*words):
    return subprocess.run([ANEMONE, *words], capture_output=True, text=True, timeout=300)


class Inspect(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def complete(self, command, source):
        """The proposed command with what the user was to fill in."""
        config = os.path.join(os.path.dirname(source), "model_config.yaml")
        with open(os.path.join(self.dir, "hparams.yaml"), "w") as file:
            file.write(re.sub(r"nemo:\S+", "null", open(config).read()) if os.path.exists(config) else "name: any\n")
        beside = os.path.splitext(source)[0] + ".json"
        given = {"IMAGE": f"{DEMO}/images/bag.jpg", "TEXT": "a bag", "OUT": "out", "OUT.nemo": "out.nemo",
                 "OUT.safetensors": "out.safetensors", "HPARAMS.yaml": os.path.join(self.dir, "hparams.yaml"),
                 "CONFIG.json": beside if os.path.exists(beside) else f"{GOLDEN}/clip/hf/config.json"}
        words = [given.get(word, word) for word in shlex.split(command)]
        for word, value in (("--tp", "1"), ("--pp", "1")):
            if word in words:
                words[words.index(word) + 1] = value
        return words

    def test_everything_is_called_what_it_is(self):
        for pattern, (flavour, family, dialect, ways) in TABLE.items():
            path, = glob.glob(os.path.join(GOLDEN, pattern))
            with self.subTest(pattern):
                said = json.loads(run("inspect", "--json", path).stdout)
                self.assertEqual((said["format"], said["family"], said["dialect"]), (flavour, family, dialect))
                text = run("inspect", path).stdout
                self.assertEqual(len(said["next"]), len(ways))
                for command, way in zip(said["next"], ways):
                    self.assertIn(command, text)
                    words = shlex.split(command)
                    whole = re.sub("/mp_rank_00_000/.*", "", path)  # of a rank's file the folder of all is proposed
                    self.assertEqual((words[0], words[2]), ("anemone", whole))
                    self.assertTrue(set(way.split()) <= set(words), command)

    def test_what_is_proposed_works(self):
        for pattern in TABLE:
            path, = glob.glob(os.path.join(GOLDEN, pattern))
            for command in json.loads(run("inspect", "--json", path).stdout)["next"]:
                with self.subTest(command), tempfile.TemporaryDirectory() as folder:
                    words = self.complete(command, path)
                    done = subprocess.run([ANEMONE, *words[1:]], capture_output=True, text=True, timeout=300, cwd=folder)
                    self.assertEqual(done.returncode, 0, f"{words}\n{done.stderr}")

    def test_what_the_config_does_not_fit_is_verified(self):
        """A decoder with more layers than its config.json says: no conversion of it works."""
        model = os.path.join(self.dir, "model")
        shutil.copytree(f"{GOLDEN}/dist/nemo2_llama/hf", model)
        with open(f"{model}/config.json") as file:
            config = json.load(file)
        with open(f"{model}/config.json", "w") as file:
            json.dump({**config, "num_hidden_layers": 1}, file)
        self.assertEqual(json.loads(run("inspect", "--json", model).stdout)["next"], [f"anemone verify {model}"])
        self.assertEqual(run("verify", model).returncode, 1)

    def test_what_is_proposed_without_a_config_works(self):
        for item in ("mb031-provider-llama", "mb07-builder-llama"):  # with a common.pt and with all in the .distcp, neither with arguments
            with self.subTest(item), tempfile.TemporaryDirectory() as folder:
                whole, bare = os.path.join(GOLDEN, "megatron", item, "ckpt"), os.path.join(folder, "bare")
                shutil.copytree(whole, bare, ignore=shutil.ignore_patterns("run_config.yaml"))
                self.assertEqual(run("convert", whole, os.path.join(folder, "whole.nemo")).returncode, 0)
                with open(os.path.join(self.dir, "hparams.yaml"), "w") as file:
                    file.write(re.sub(r"nemo:\S+", "null", run("inspect", os.path.join(folder, "whole.nemo"), "--config").stdout))
                for path in (bare, os.path.join(bare, "iter_0000000")):
                    said = json.loads(run("inspect", "--json", path).stdout)
                    self.assertEqual((said["format"], len(said["next"])), ("torch_dist", 1))
                    words = shlex.split(said["next"][0].replace("HPARAMS.yaml", os.path.join(self.dir, "hparams.yaml")))
                    done = subprocess.run([ANEMONE, *words[1:], "--force"], capture_output=True, text=True, timeout=300, cwd=folder)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn("0 of 15 tensors that both have differ", run("diff", os.path.join(folder, "OUT.nemo"), f"{folder}/whole.nemo").stdout)

    def test_a_nemo_2_model_of_no_words_is_not_called_convertible(self):
        """Attention that is scaled otherwise: no config of NeMo 1's or of transformers' says so."""
        model = os.path.join(self.dir, "scaled")
        shutil.copytree(f"{GOLDEN}/dist/nemo2_llama/nemo", model)
        with open(f"{model}/context/model.yaml") as file:
            text = file.read()
        with open(f"{model}/context/model.yaml", "w") as file:
            file.write(re.sub("(?m)^config:$", "config:\n  softmax_scale: 0.3", re.sub("(?m)^  softmax_scale:.*\n", "", text)))
        self.assertIn("config: softmax_scale: expected null, found 0.3", run("convert", model, f"{self.dir}/x.nemo").stderr)
        self.assertIn("config: softmax_scale: expected null, found 0.3", run("convert", model, f"{self.dir}/x", "--to", "hf").stderr)
        said = json.loads(run("inspect", "--json", model).stdout)
        self.assertEqual((said["family"], said["next"]), ("gpt", [f"anemone convert {model} OUT.safetensors"]))
        self.assertEqual(run("convert", model, f"{self.dir}/x.safetensors").returncode, 0)

    def test_an_index_stands_for_its_folder(self):
        """The config beside it counts; verify and scan read what it names."""
        parts, index = os.path.join(self.dir, "parts-of-one"), "model.safetensors.index.json"
        run("convert", f"{GOLDEN}/dist/nemo2_llama/hf", parts, "--to", "hf", "--max-shard-size", "100kB")
        self.assertEqual(run("convert", f"{parts}/{index}", f"{self.dir}/index.nemo").returncode, 0)
        self.assertEqual(run("convert", parts, f"{self.dir}/folder.nemo").returncode, 0)
        self.assertIn("equal:", run("diff", f"{self.dir}/index.nemo", f"{self.dir}/folder.nemo").stdout)
        shards = [f"{parts}/{name}" for name in sorted(os.listdir(parts)) if name.startswith("model-")]
        size = sum(map(os.path.getsize, [f"{parts}/{index}", *shards]))
        self.assertEqual(json.loads(run("verify", "--json", f"{parts}/{index}").stdout)["bytes_read"], size)
        with open(f"{self.dir}/bin.index.json", "w") as file:
            json.dump({"weight_map": {"a": "evil.bin"}}, file)
        with open(f"{self.dir}/evil.bin", "wb") as file:
            file.write(b"cos\nsystem\n(S'id'\ntR.")
        self.assertIn("os system", run("scan", f"{self.dir}/bin.index.json").stdout)

    def test_several_models_in_one_folder_are_named(self):
        """A pipeline of diffusers that is no Stable Diffusion, and the parts by rank that torch's HuggingFaceStorageWriter leaves."""
        pipeline, parts = os.path.join(self.dir, "pipeline"), os.path.join(self.dir, "parts")
        os.mkdir(pipeline)
        shutil.copytree(f"{GOLDEN}/clip/hf", f"{pipeline}/text_encoder")
        with open(f"{pipeline}/model_index.json", "w") as file:
            json.dump({"_class_name": "OtherPipeline", "text_encoder": ["transformers", "CLIPModel"], "unet": ["diffusers", "UNet"]}, file)
        said = json.loads(run("inspect", "--json", pipeline).stdout)
        self.assertEqual((said["format"], said["next"]), ("diffusers", []))
        self.assertIn("unet: model_index.json names it, and no such folder is there", run("inspect", "-v", pipeline).stderr)
        self.assertEqual(run("inspect", f"{pipeline}/text_encoder").returncode, 0)
        self.assertEqual(run("convert", pipeline, f"{self.dir}/half", "--to", "diffusers", "--dtype", "fp16").returncode, 0)
        self.assertIn("expected a model of a known family", run("convert", pipeline, f"{self.dir}/x.nemo").stderr)
        os.mkdir(parts)
        shutil.copy(f"{GOLDEN}/clip/hf/model.safetensors", f"{parts}/shard-00001-model-00001-of-00001.safetensors")
        shutil.copy(f"{GOLDEN}/clip/hf/model.safetensors", f"{parts}/shard-00002-model-00001-of-00001.safetensors")
        self.assertIn("parts by rank", run("inspect", parts).stderr)

    def test_a_path_is_quoted_for_the_shell(self):
        """Of bash: what is printed and what a hint names goes back to the same file."""
        for name in ("a model's copy", "-model", "new\nline", "\x1b[31m\\red's", "caf\xe9", os.fsdecode(b"\xff"), "plain"):
            os.symlink(os.path.join(GOLDEN, "clip/hf"), os.path.join(self.dir, name))
            said = subprocess.run([ANEMONE, "inspect", "--", name], cwd=self.dir, capture_output=True, text=True, check=True).stdout
            command = re.search("next +(anemone convert .*) OUT.nemo", said)[1]
            words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], cwd=self.dir, capture_output=True, check=True).stdout
            self.assertTrue(os.path.samefile(os.path.join(self.dir, os.fsdecode(words).split("\0")[2]), os.path.join(GOLDEN, "clip/hf")), command)
            said = subprocess.run([ANEMONE, "convert", "plain" if name == "plain" else f"./{name}", f"./{name}.d/x.nemo"],
                                  cwd=self.dir, capture_output=True, text=True).stderr
            subprocess.run(["bash", "-c", re.search("hint: .*: (mkdir -p .*)", said)[1]], cwd=self.dir, check=True)
            self.assertTrue(os.path.isdir(os.path.join(self.dir, f"{name}.d")), said)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
