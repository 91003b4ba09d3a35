"""The command line as people use it: exit statuses, one-line errors, nothing left behind. Standard library only.

usage: cli.py PROGRAM GOLDEN SOURCE
"""

import gzip
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import textwrap
import unittest
import zipfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from program_case import ProgramCase  # noqa: E402

PROGRAM, GOLDEN, SOURCE = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
ProgramCase.program = PROGRAM
CLIP = GOLDEN / "clip"
DEMO = SOURCE / "models" / "demo-clip"
CKPT = "megatron_clip--val_loss=5.95-step=3-consumed_samples=12.0.ckpt"


class CommandLine(ProgramCase):
    # ---- usage ----

    def test_help_has_two_examples(self):
        commands = re.findall(r"^  (\w+)  ", self.ok("--help").split("Commands:")[1], re.M)
        self.assertIn("convert", commands)
        for command in commands:
            self.assertEqual(len(re.findall(r"^  anemone ", self.ok(command, "--help"), re.M)), 2, command)

    def test_usage_errors(self):
        self.fails(64, "expected a command, found nothing")
        self.fails(64, "expected a command, found 'frobnicate'", "frobnicate")
        self.fails(64, "unknown arguments --too 3", "convert", "a", "b", "--too", "3")
        self.fails(64, "SRC is required", "convert")
        self.fails(64, "expected two checkpoints or more and a destination, found 2", "average", "a.nemo", "b.nemo")
        self.fails(64, "cannot tell the format", "convert", CLIP / "hf", "x.foo")
        self.fails(64, "expected one of nemo", "convert", CLIP / "hf", "x", "--to", "foo")
        self.fails(64, "--preset: expected the name of a size, found 'huge'", "convert", CLIP / "hf", "x.nemo",
                   "--preset", "huge")
        self.fails(64, "^anemone: --set: expected KEY=VALUE, found 'a'", "convert", CLIP / "hf", "x.nemo", "--set", "a")
        self.fails(64, "^anemone: --artifact: expected KEY=FILE, found 'a'", "convert", CLIP / "hf", "x.nemo", "--artifact", "a")
        self.fails(64, "^anemone: --rename: expected PATTERN=NAME, found 'a'", "convert", CLIP / "hf", "x.nemo", "--rename", "a")
        for key in ("a.", ".a", "a..b"):
            self.fails(64, f"expected names between the dots of a key, found '{key}'", "edit", CLIP / "mcore.nemo", "-o", "x.nemo", "--set", f"{key}=1")
        self.fails(64, "expected --tp, --pp, --vp or --ep", "reshard", CLIP / "mcore.nemo", "x.nemo")
        self.fails(64, "tensor parallel 3", "convert", CLIP / "hf", "x.nemo", "--tp", "3")
        self.fails(64, "finite", "infer", DEMO, "--image", "a.jpg", "--text", "a", "--logit-scale", "nan")

    def test_commands_pages_are_current(self):
        self.ok("--manual", "markdown", self.dir)
        written = {p.name: p.read_text() for p in self.dir.glob("*.md")}
        shipped = {p.name: p.read_text() for p in (SOURCE / "docs" / "commands").glob("*.md")}
        self.assertEqual(written, shipped, "run: anemone --manual markdown docs/commands")

    def test_a_folder_for_pages_that_is_missing(self):
        self.fails(73, "absent/.*: cannot create: No such file or directory\nhint: create the parent directory first: mkdir -p absent", "--manual", "markdown", "absent")

    def test_explain(self):
        text = self.ok("convert", CLIP / "mcore_tp2.nemo", self.dir / "out", "--to", "hf", "--explain")
        self.assertRegex(text, r"(?m)^translate +gives tensors")
        self.assertRegex(text, r"(?m)^ +files added: .*preprocessor_config.json")
        self.assertRegex(text, r"(?m)^edit .*: nothing to change$")
        told = json.loads(self.ok("convert", CLIP / "hf", self.dir / "x.nemo", "--explain", "--json"))
        self.assertEqual(told["format"], "nemo")
        passes = {p["pass"]: p for p in told["passes"]}
        self.assertGreater(passes["translate"]["tensors"]["added"], 0)
        self.assertEqual(passes["lay-out"]["files"], 1)
        self.assertFalse(passes["cast"]["changed"])
        self.assertEqual(list(self.dir.iterdir()), [])
        self.fails(64, "--explain", "convert", CLIP / "hf", "x.nemo", "--explain", "--plan")

    # ---- inputs ----

    def test_missing_inputs(self):
        self.fails(66, "no such file", "convert", "nope.nemo", "x.nemo")
        self.fails(66, "no such file", "inspect", "./nope/nope")
        self.fails(66, "openai/clip-vit-large-patch14: .*offline", "convert", "openai/clip-vit-large-patch14", "x.nemo")
        self.fails(66, "nope.yaml", "convert", CLIP / "hf", "x.nemo", "--hparams", "nope.yaml")

    def test_hub_ids(self):
        self.fails(64, "expected a hub id", "fetch", "nope")
        self.fails(66, "org/name@v1: .*offline", "fetch", "org/name@v1")
        # A cache as huggingface_hub leaves it.
        commit = "0123456789abcdef" * 2 + "01234567"

        def cached(name, folder):
            repo = self.dir / ".hf" / "hub" / f"models--org--{name}"
            (repo / "refs").mkdir(parents=True)
            (repo / "refs" / "main").write_text(commit)
            shutil.copytree(folder, repo / "snapshots" / commit)
            return repo

        repo = cached("tiny", CLIP / "hf")
        self.assertEqual(self.ok("fetch", "org/tiny"), f"{repo / 'snapshots' / commit}\n")
        self.ok("convert", "org/tiny", "a.nemo", "--check")
        self.ok("nemo", "convert_clip_hf_to_nemo", "--input_name_or_path", "org/tiny", "--output_path", "b.nemo", "--hparams_file",
                CLIP / "hparams.yaml", "--gpus_per_node=1", "--tensor_model_parallel_size", 1, "--pipeline_model_parallel_size=1",
                "--local_rank=0")
        self.assertIn("equal", self.ok("diff", "b.nemo", CLIP / "mcore.nemo", "--weights"))
        external = ("nemo", "convert_external_clip_to_nemo", "--nemo_file_path", "c.nemo", "--hparams_file", CLIP / "hparams.yaml")
        self.ok(*external, "--arch", "org/tiny", "--version=huggingface", "--bcp", "--gpus_per_node", 1)
        self.assertIn("equal", self.ok("diff", "c.nemo", CLIP / "legacy.nemo", "--weights"))
        # The base of an adapter.
        lora = GOLDEN / "lora" / "llama_all"
        cached("llama", lora / "base")
        self.ok("convert", lora / "adapter", "of_id.nemo", "--base", "org/llama")
        self.ok("convert", lora / "adapter", "of_path.nemo", "--base", lora / "base")
        self.assertIn("equal", self.ok("diff", "of_id.nemo", "of_path.nemo", "--weights"))
        # OpenCLIP's tags are repositories.
        for arch, tag, name in (("ViT-H-14", "laion2b_s32b_b79k", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
                                ("ViT-B/32", "openai", "openai/clip-vit-base-patch32"),
                                ("ViT-L-14-quickgelu", "openai", "openai/clip-vit-large-patch14")):
            self.fails(66, f"{name}: ", *external[:3], "d.nemo", "--arch", arch, "--version", tag)
        self.fails(64, "OpenCLIP's tags", *external[:3], "d.nemo", "--arch", "RN50", "--version", "yfcc15m")

    def test_truncated_inputs(self):
        for name in ("mcore.nemo", "hf/model.safetensors", "hf_with_position_ids.bin", f"ckpt_mcore/{CKPT}"):
            data = (CLIP / name).read_bytes()
            short = self.dir / pathlib.Path(name).name
            for size in (0, 100, 700, 20000, len(data) // 2):
                short.write_bytes(data[:size])
                self.fails(65, re.escape(short.name), "convert", short.name, "x.safetensors")

    def test_verify_reads_the_json_beside_the_weights(self):
        for to, name in (("hf", "vocab.json"), ("hf", "preprocessor_config.json"), ("nemo-dir", "tokenizer/vocab.json")):
            shutil.rmtree(self.dir / to, ignore_errors=True)
            self.ok("convert", CLIP / "hf", to, "--to", to)
            self.ok("verify", to)
            whole = (self.dir / to / name).read_bytes()
            (self.dir / to / name).write_bytes(whole[:len(whole) // 2])
            done = self.run_program("verify", to)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertRegex(done.stdout, f"{to}: {name}: (line \\d+, column \\d+: expected |expected '}}' at its end)")

    def test_verify_names_the_member_whose_bytes_changed(self):
        data = random.Random(7).randbytes(5 << 20)
        with zipfile.ZipFile(self.dir / "x.zip", "w") as box:
            box.writestr("first", data[:1000])
            box.writestr("second", data)
        whole = (self.dir / "x.zip").read_bytes()
        at = whole.index(data) + (3 << 20)
        (self.dir / "x.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        words = f"x.zip/second: expected CRC-32 {zlib.crc32(data):08x}, found "
        self.assertIn(words, self.run_program("verify", "x.zip").stdout)
        self.assertNotIn("CRC-32", self.run_program("verify", CLIP / "mcore.nemo").stdout)

    def test_what_is_no_checkpoint_is_named(self):
        (self.dir / "page.nemo").write_text("<!DOCTYPE html><html><body>404</body></html>")
        self.fails(65, "an HTML page", "inspect", "page.nemo")
        (self.dir / "lfs.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 12345\n")
        self.fails(65, "git-lfs pointer", "convert", "lfs.safetensors", "x.nemo")
        (self.dir / "empty").mkdir()
        self.fails(65, "empty folder", "convert", "empty", "x.nemo")

    def test_a_nemo_without_tokenizer_becomes_a_whole_hugging_face_folder(self):
        self.ok("convert", CLIP / "mcore.nemo", "out", "--to", "hf")
        theirs = json.loads((CLIP / "hf/preprocessor_config.json").read_text())
        ours = json.loads((self.dir / "out/preprocessor_config.json").read_text())
        self.assertEqual(ours, theirs)
        for name in ("vocab.json", "merges.txt"):
            read = json.loads if name == "vocab.json" else lambda text: text.split("\n")[1:]
            self.assertEqual(read((self.dir / "out" / name).read_text()), read((DEMO / name).read_text()), name)
        self.ok("convert", GOLDEN / "siglip/siglip_32.nemo", "sig", "--to", "hf")
        theirs = json.loads((GOLDEN / "siglip/hf_siglip/preprocessor_config.json").read_text())
        ours = json.loads((self.dir / "sig/preprocessor_config.json").read_text())
        for key in ("image_mean", "image_std", "size", "resample", "do_resize", "image_processor_type"):
            self.assertEqual(ours[key], theirs[key], key)
        self.assertFalse((self.dir / "sig/vocab.json").exists())

    def test_every_way_of_packing(self):
        self.ok("extract", CLIP / "mcore.nemo", "folder")
        with tarfile.open(self.dir / "star.nemo", "w:gz") as tar:  # tar -czf star.nemo *
            for path in sorted((self.dir / "folder").iterdir()):
                tar.add(path, path.name)
        (self.dir / "gz.nemo").write_bytes(gzip.compress((CLIP / "mcore.nemo").read_bytes(), 1))
        self.ok("pack", "folder", "packed.nemo")
        for name in ("star.nemo", "gz.nemo", "packed.nemo", "folder"):
            self.assertIn("equal: 74 tensors", self.ok("diff", name, CLIP / "mcore.nemo"))

    def test_hparams_that_disagree(self):
        text = (CLIP / "hparams.yaml").read_text()
        cases = [
            ("num_layers: 3", "num_layers: 4", "vision.num_layers: expected 3, found 4"),
            ("num_attention_heads: 4", "num_attention_heads: 8", "num_attention_heads: expected 4, found 8"),
            ("patch_dim: 8", "patch_dim: 16", "vision.patch_dim: expected 8, found 16"),
            ("layernorm_epsilon: 1e-5", "layernorm_epsilon: 1e-6", "layernorm_epsilon: expected 1e-05, found 1e-06"),
            ("activation: approx-gelu", "activation: gelu", "activation: expected approx-gelu"),
            ("${model.output_dim}", "${model.nope}", "bad.yaml: .*model.nope"),
        ]
        for old, new, message in cases:
            self.assertIn(old, text)
            (self.dir / "bad.yaml").write_text(text.replace(old, new))
            self.fails(65, message, "convert", CLIP / "hf", "x.nemo", "--hparams", "bad.yaml")
        # Fields that NeMo never reads may say anything.
        (self.dir / "odd.yaml").write_text(text.replace("encoder_seq_length: 16", "encoder_seq_length: 999"))
        self.ok("convert", CLIP / "hf", "x.nemo", "--hparams", "odd.yaml")

    # ---- outputs ----

    def test_existing_and_impossible_outputs(self):
        (self.dir / "x.nemo").write_text("old")
        self.fails(73, "already exists", "convert", CLIP / "mcore.nemo", "x.nemo")
        self.assertEqual((self.dir / "x.nemo").read_text(), "old")
        self.ok("convert", CLIP / "mcore.nemo", "x.nemo", "--force")
        self.fails(73, "/nope/x.nemo", "convert", CLIP / "mcore.nemo", "/nope/x.nemo")
        (self.dir / "e.safetensors").write_text("old")
        self.fails(73, "already exists", "infer", DEMO, "--text", "a", "--embeddings", "e.safetensors")
        self.ok("infer", DEMO, "--text", "a", "--embeddings", "e.safetensors", "--force")

    def test_a_full_standard_output_is_told(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "inspect", CLIP / "mcore.nemo", "--tensors"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 74)
        self.assertIn("No space left", done.stderr)

    def test_plan_writes_nothing(self):
        plan = json.loads(self.ok("convert", CLIP / "hf", "x.nemo", "--plan", "--json"))
        self.assertFalse((self.dir / "x.nemo").exists())
        self.ok("convert", CLIP / "hf", "x.nemo")
        self.assertEqual(plan["files"], [{"path": "x.nemo", "bytes": (self.dir / "x.nemo").stat().st_size}])
        self.assertEqual(plan["tensors"], 74)

    # ---- conversions ----

    def test_there_and_back(self):
        source = CLIP / "hf"
        self.ok("convert", source, "a.nemo", "--hparams", CLIP / "hparams.yaml")
        self.ok("convert", "a.nemo", "legacy.nemo", "--dialect", "legacy")
        self.ok("convert", "legacy.nemo", "openclip", "--to", "openclip")
        self.ok("convert", "openclip", "tp2.nemo", "--tp", 2)
        self.ok("convert", "tp2.nemo", "hf", "--to", "hf")
        self.assertIn("equal: 94 tensors", self.ok("diff", "hf", source, "--weights"))
        for other in ("a.nemo", "legacy.nemo", "openclip", "tp2.nemo", CLIP / "mcore_tp2.nemo", CLIP / "legacy.nemo"):
            self.assertIn("equal: 74 tensors", self.ok("diff", other, source, "--canonical"))
        # Config and weights as NeMo wrote them: only the tokenizer's files are ours.
        for mine, golden in (("a.nemo", "mcore.nemo"), ("legacy.nemo", "legacy.nemo")):
            done = self.run_program("diff", mine, CLIP / golden, "--json")
            answer = json.loads(done.stdout)
            self.assertEqual((answer["tensors"], answer["config"]), ([], []), mine)
        self.assertEqual(self.ok("inspect", "tp2.nemo", "--config", "tensor_model_parallel_size"), "2\n")

    def test_configs_and_companions_come_back(self):
        sources = [CLIP / "hf", DEMO, GOLDEN / "siglip" / "hf_siglip", *sorted(p for p in (GOLDEN / "clip_hf").iterdir() if p.is_dir())]
        for source in sources:
            config = json.loads((source / "config.json").read_text())
            for dialect in ("mcore",) if source.name == "hf_siglip" else ("mcore", "legacy"):
                self.ok("convert", source, "a.nemo", "--dialect", dialect, "--force")
                self.ok("convert", "a.nemo", "back", "--to", "hf", "--force")
                back = {p.name: p.read_bytes() for p in (self.dir / "back").iterdir()}
                self.assertEqual(json.loads(back["config.json"]), config, source)
                for file in source.iterdir():
                    if file.suffix in (".json", ".txt", ".model") and file.name in back and not file.name.startswith(("config", "model.safetensors")):
                        self.assertEqual(back.pop(file.name), file.read_bytes(), file)
                self.assertEqual({n for n in back if not n.startswith("model")}, {"config.json"}, "files of no one's")
            key = "dtype" if "dtype" in config else "torch_dtype"
            self.ok("convert", "a.nemo", "half", "--to", "hf", "--dtype", "bf16", "--force")
            self.assertEqual(json.loads((self.dir / "half" / "config.json").read_text()), config | {key: "bfloat16"})
        # What is no longer the model's is not brought back.
        self.ok("convert", CLIP / "hf", "a.nemo", "--force")
        self.ok("edit", "a.nemo", "--set", "vision.layernorm_epsilon=1e-6")
        self.ok("convert", "a.nemo", "back", "--to", "hf", "--force")
        self.assertEqual(json.loads((self.dir / "back" / "config.json").read_text())["vision_config"]["layer_norm_eps"], 1e-6)
        # OpenCLIP's the same.
        self.ok("convert", GOLDEN / "openclip" / "epoch_3.pt", "first", "--to", "openclip", "--hparams", GOLDEN / "openclip" / "epoch_3.json")
        file = self.dir / "first" / "open_clip_config.json"
        config = json.loads(file.read_text())
        config["preprocess_cfg"] |= {"interpolation": "bicubic", "resize_mode": "shortest"}
        file.write_text(json.dumps(config))
        self.ok("convert", "first", "a.nemo", "--force")
        self.ok("convert", "a.nemo", "second", "--to", "openclip")
        self.assertEqual(json.loads((self.dir / "second" / "open_clip_config.json").read_text()), config)

    def test_a_table_of_ones_own(self):
        """A model of no known family: safetensors, .nemo and rank folders, split and merged by a table."""
        shapes = {"model.emb.weight": [256, 4], "model.norm.weight": [4]}
        for i in range(2):
            shapes |= {f"model.block.{i}.up.weight": [8, 4], f"model.block.{i}.down.bias": [4]}
        header, data = {}, bytearray()
        for name, shape in shapes.items():
            size = 4
            for n in shape:
                size *= n
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + size]}
            data += bytes((len(data) + i) % 251 if i % 4 < 3 else 63 for i in range(size))
        text = json.dumps(header).encode()
        (self.dir / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
        (self.dir / "h.yaml").write_text("hidden_size: 4\nmake_vocab_size_divisible_by: 64\n")
        table = """
            prefixes: ["model."]
            rows:
            - {name: emb.weight, split: vocabulary, stage: first}
            - {name: "block.{i}.up.weight", split: gate and up}
            - {name: "block.{i}.down.bias"}
            - {name: norm.weight, stage: last}
            """
        (self.dir / "t.yaml").write_text(textwrap.dedent(table))
        use = ("--table", "t.yaml")
        self.fails(65, "a known family .*\n.*--table", "reshard", "m.safetensors", "x.ckpt", "--tp", "2")
        self.ok("reshard", "m.safetensors", "ranks", "--to", "ckpt", "--tp", "2", "--pp", "2", *use)
        listed = self.ok("inspect", "ranks", "--tensors")
        self.assertRegex(listed, r"tp1 pp1 +fp32 +\[4, 4\] +model\.block\.0\.up\.weight")
        self.ok("reshard", "ranks", "back.safetensors", "--tp", "1", "--pp", "1", *use)
        self.ok("diff", "m.safetensors", "back.safetensors")
        self.ok("convert", "m.safetensors", "m.nemo", "--hparams", "h.yaml", *use)
        self.ok("reshard", "m.nemo", "m4.nemo", "--tp", "4", *use)
        self.ok("reshard", "m4.nemo", "m1.safetensors", "--tp", "1", *use)
        self.assertIn("equal: 6 tensors", self.ok("diff", "m.safetensors", "m1.safetensors"))
        self.fails(64, "--dialect: expected none beside a table, found 'legacy'", "convert", "m.nemo", "x.nemo", "--dialect",
                   "legacy", *use)
        (self.dir / "t.yaml").write_text(textwrap.dedent(table).replace("norm.weight", "nor.weight"))
        self.fails(65, "model.norm.weight", "reshard", "m.nemo", "x.nemo", "--tp", "2", *use)

    def test_plan_of_a_config_weighs_what_nemo_wrote(self):
        for name, layout in (("clip/mcore.nemo", (1, 1)), ("clip/mcore_tp2.nemo", (2, 1)), ("clip/legacy_tp2.nemo", (2, 1)),
                             ("clip_pp/mcore_tp2pp2.nemo", (2, 2)), ("clip_pp/legacy_tp2pp2.nemo", (2, 2)),
                             ("siglip/siglip_32.nemo", (1, 1)), ("gpt/A_tp2pp2.nemo", (2, 2))):
            found = json.loads(self.ok("inspect", GOLDEN / name, "--tensors", "--json"))
            (self.dir / "c.yaml").write_text(self.ok("inspect", GOLDEN / name, "--config"))
            weights = {}
            for tensor in found["tensors"]:
                rank = tensor.get("rank", {"tp": 0, "pp": 0})
                rank = (rank["tp"], rank["pp"]) if isinstance(rank, dict) else rank
                weights[str(rank)] = weights.get(str(rank), 0) + tensor["bytes"]
            table = [t["shape"][0] for t in found["tensors"] if "word_embeddings" in t["name"]][0]
            vocab = () if name.startswith("clip") else ("--vocab", 1010 if name.startswith("gpt") else table)
            plan = json.loads(self.ok("plan", "--family", name.split("/")[0].split("_")[0], "--config", "c.yaml", "--tp", layout[0],
                                      "--pp", layout[1], "--dialect", found["dialect"], "--json", *vocab))
            self.assertEqual([r["weight_bytes"] for r in plan["ranks"]], list(weights.values()), name)
        small = self.ok("plan", "--family", "clip", "--preset", "ViT-B-32", "--tp", "2", "--optimizer")
        self.assertRegex(small, r"model +151 M parameters")
        self.assertRegex(small, r"stage 0: 2 × .* of weights, .* of optimizer")
        self.fails(64, "--vocab N", "plan", "--family", "gpt", "--config", GOLDEN / "gpt_vp" / "hparams.yaml")
        self.fails(64, "tensor parallel 3", "plan", "--family", "clip", "--preset", "ViT-B-32", "--tp", "3")
        (self.dir / "moe.yaml").write_text("num_layers: 2\nhidden_size: 8\nnum_attention_heads: 2\nnum_moe_experts: 4\n")
        moe = ("plan", "--family", "gpt", "--config", "moe.yaml", "--vocab", "128", "--tp", "2", "--json")
        expert, dense = 2 * 8 * 32 + 32 + 8, 4 * 8 * 8 + 4 * 8 + 4 * 8 + 4 * 8  # the router is the last
        self.assertEqual(json.loads(self.ok(*moe))["parameters"], 2 * (4 * expert + dense) + 128 * 8 + 8 + 2 * 8)
        with (self.dir / "moe.yaml").open("a") as config:
            config.write("moe_extended_tp: true\n")
        self.fails(65, "moe_extended_tp: experts", *moe)
        self.fails(64, "expected one of clip", "plan", "--family", "frob", "--preset", "ViT-B-32")

    def test_training_checkpoints(self):
        flags = ["--tensor_model_parallel_size", 2, "--pipeline_model_parallel_size", 1, "--gpus_per_node=2"]
        self.ok("nemo", "convert_ckpt_to_nemo", "--checkpoint_folder", CLIP / "ckpt_mcore_tp2", "--checkpoint_name", CKPT,
                "--hparams_file", CLIP / "ckpt_mcore_tp2" / "hparams.yaml", "--nemo_file_path", "tp2.nemo", *flags)
        self.assertIn("equal", self.ok("diff", "tp2.nemo", CLIP / "mcore_tp2.nemo", "--weights"))
        # The source's layout stays unless another is asked for, with hparams and without.
        self.ok("convert", CLIP / "ckpt_mcore_tp2", "kept.nemo", "--hparams", CLIP / "ckpt_mcore_tp2" / "hparams.yaml")
        self.assertEqual(json.loads(self.ok("inspect", "kept.nemo", "--json"))["layout"]["tp"], 2)
        self.ok("convert", CLIP / "ckpt_mcore", "own.nemo")
        self.assertIn("MegatronCLIPModel", self.ok("inspect", "own.nemo", "--config", "target"))
        self.ok("convert", "own.nemo", "again.ckpt")
        self.ok("convert", "again.ckpt", "again.nemo")
        self.assertIn("equal: 74 tensors", self.ok("diff", "own.nemo", "again.nemo"))

    def test_distributed_checkpoints(self):
        self.ok("convert", CLIP / "mcore_tp2.nemo", "dist", "--to", "torch_dist", "--tp", 2)
        self.assertEqual(len(list((self.dir / "dist").glob("*.distcp"))), 2)
        self.assertIn("equal: 74 tensors", self.ok("diff", "dist", CLIP / "mcore.nemo", "--weights"))
        self.assertIn("ok: ", self.ok("verify", "dist"))
        self.assertIn("inert: ", self.ok("scan", "dist"))
        self.fails(64, "without ranks", "convert", CLIP / "mcore.nemo", "x", "--to", "torch_dist", "--pp", 2)

    def test_extra_state(self):
        self.ok("convert", CLIP / "hf", "x.nemo", "--extra-state", "require")
        for words in (["hf", "--to", "hf"], ["x.safetensors"], ["y.nemo", "--dialect", "mcore"]):
            source = CLIP / "mcore.nemo"
            if words[0] == "y.nemo":
                self.ok("convert", source, "bare.nemo", "--extra-state", "drop")
                source = "bare.nemo"
            self.fails(65, "--extra-state: expected _extra_state entries", "convert", source, *words, "--extra-state", "require")

    def test_average_of_one_model_is_that_model(self):
        self.ok("average", CLIP / "mcore.nemo", CLIP / "mcore.nemo", "mean.nemo")
        self.assertIn("equal: 74 tensors", self.ok("diff", "mean.nemo", CLIP / "mcore.nemo"))

    def test_edit(self):
        shutil.copy(CLIP / "mcore.nemo", self.dir / "x.nemo")
        self.ok("edit", "x.nemo", "--set", "optim.lr=1e-4", "--artifact", f"tokenizer.model={DEMO / 'labels.txt'}")
        self.assertRegex(self.ok("inspect", "x.nemo", "--config", "tokenizer.model"), r"nemo:[0-9a-f]{32}_labels.txt")
        self.assertIn("equal", self.ok("diff", "x.nemo", CLIP / "mcore.nemo", "--weights"))
        self.fails(64, "nothing to change", "edit", "x.nemo")
        self.fails(66, "nope.nope: expected a value", "edit", "x.nemo", "--unset", "nope.nope")

    # ---- answers ----

    def test_infer_as_nemo_does(self):
        words = ["--text", "a dog", "--text", "a photo of a bag"]
        line = self.ok("infer", DEMO, "--image", DEMO / "images" / "bag.jpg", *words)
        self.assertTrue(line.startswith("Given image's CLIP text probability:  [('a dog', "), line)
        hydra = self.ok("nemo", "megatron_clip_infer", f"model.restore_from_path={DEMO}",
                        f"image_path={DEMO / 'images' / 'bag.jpg'}", 'texts=["a dog", "a photo of a bag"]',
                        "trainer.precision=16", "++foo=3")
        self.assertTrue(hydra.startswith("Given image's CLIP text probability:  [('a dog', "), hydra)
        self.fails(64, "texts", "nemo", "megatron_clip_infer", f"model.restore_from_path={DEMO}", "image_path=a.jpg")

    def test_zero_shot_as_transformers(self):
        golden = json.loads((SOURCE / "tests/interop/cli/zero_shot.json").read_text())
        for name, images in golden["classes"].items():
            (self.dir / "set" / name).mkdir(parents=True)
            for image in images:
                shutil.copy(DEMO / "images" / image, self.dir / "set" / name)
        (self.dir / "set" / "README").write_text("no class")
        (self.dir / "templates.txt").write_text("\n".join(golden["templates"]))
        names = [name.replace("_", " ") for name in sorted(golden["classes"])]
        (self.dir / "names.txt").write_text("\n".join(names) + "\n")
        images, top1, top5 = golden["total"]
        line = f"Zero-shot CLIP accuracy Top-1: {top1 / images:.4f}; Top-5: {top5 / images:.4f}\n"
        self.assertEqual(self.ok("infer", DEMO, "--dataset", "set", "--templates", "templates.txt", "--batch", 5), line)
        self.ok("convert", DEMO, "demo.nemo")
        self.assertEqual(self.ok("nemo", "megatron_clip_imagenet_zeroshot", "model.restore_from_path=demo.nemo",
                                 "trainer.precision=32", "model.data.imagenet_val=set", "model.data.labels=names.txt",
                                 "model.data.templates=templates.txt"), line)
        answer = json.loads(self.ok("infer", DEMO, "--dataset", "set", "--templates", "templates.txt", "--json"))
        self.assertEqual([[c["images"], round(c["top1"] * c["images"]), round(c["top5"] * c["images"])]
                          for c in answer["classes"]], golden["per_class"])
        # The same classifier on the pictures one by one.
        paths = [f"set/{name}/{image}" for name in sorted(golden["classes"]) for image in sorted(golden["classes"][name])]
        (self.dir / "list.txt").write_text("\n".join(paths) + "\n\n")
        lines = self.ok("infer", DEMO, "--image-list", "list.txt", "--labels", "names.txt", "--templates", "templates.txt",
                        "--json").splitlines()
        self.assertEqual([json.loads(line)["image"] for line in lines], paths)
        for line, row in zip(lines, golden["probabilities"], strict=True):
            for mine, theirs in zip(json.loads(line)["probabilities"], row, strict=True):
                self.assertAlmostEqual(mine, theirs, delta=1e-5)
        self.assertEqual(self.ok("infer", DEMO, "--image", "set", "--text", "x", "--json").count("\n"), len(paths))

    def test_zero_shot_errors(self):
        (self.dir / "set" / "bag").mkdir(parents=True)
        self.fails(66, "set/bag: expected pictures .* found none", "infer", DEMO, "--dataset", "set")
        shutil.copy(DEMO / "images" / "bag.jpg", self.dir / "set" / "bag")
        self.fails(64, "set: expected 1000 folders, one a label, found 1", "nemo", "megatron_clip_imagenet_zeroshot",
                   f"model.restore_from_path={DEMO}", "model.data.imagenet_val=set")
        self.fails(64, "model.data.imagenet_val", "nemo", "megatron_clip_imagenet_zeroshot",
                   f"model.restore_from_path={DEMO}")
        (self.dir / "templates.txt").write_text("a photo\n")
        self.fails(64, r"templates.txt: expected a template with \{\} in it, found 'a photo'", "infer", DEMO, "--dataset",
                   "set", "--templates", "templates.txt")
        self.fails(64, "found both", "infer", DEMO, "--dataset", "set", "--text", "a")
        self.fails(66, "nope: no such folder", "infer", DEMO, "--dataset", "nope")
        (self.dir / "set" / "bag" / "z.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        self.fails(65, "set/bag/z.png", "infer", DEMO, "--dataset", "set", "--strict")
        done = self.run_program("infer", DEMO, "--dataset", "set", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(json.loads(done.stdout)["images"], 1)
        self.assertRegex(done.stderr, "warning: set/bag/z.png: PNG: .*\n.*warning: 1 picture could not be read")

    def test_no_picture_is_left_out_in_silence(self):
        def ppm(width=40, height=40):
            return b"P6 %d %d 255\n" % (width, height) + bytes(range(256)) * (width * height * 3 // 256 + 1)
        for path in ("set/bag/1.ppm", "set/coat/a/2.PPM", "set/.hidden/x.ppm", "set/coat/._2.ppm"):
            (self.dir / path).parent.mkdir(parents=True, exist_ok=True)
            (self.dir / path).write_bytes(ppm())
        (self.dir / "set" / "bag" / "x.avif").write_bytes(b"")
        (self.dir / "set" / "coat" / "notes.txt").write_bytes(b"")
        (self.dir / "set" / "coat" / "loop").symlink_to(self.dir / "set")
        done = self.run_program("infer", DEMO, "--dataset", "set", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["images"], 2)
        for note in ("2 hidden files and folders", "1 links to a folder around them, first set/coat/loop",
                     "of a format that is not decoded, first set/bag/x.avif", "files that are no pictures by their names, first set/coat/notes.txt"):
            self.assertIn(note, done.stderr)

    def test_bad_pictures_do_not_end_a_run(self):
        bag = DEMO / "images" / "bag.jpg"
        (self.dir / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        (self.dir / "list.txt").write_bytes(f"\ufeffbad.png\r\n\r\n{bag}\r\nbad.png\r\n".encode())
        (self.dir / "labels.txt").write_bytes("\ufeffbag\r\n \n\ncoat\rshoe".encode())
        done = self.run_program("infer", DEMO, "--image-list", "list.txt", "--labels", "labels.txt", "--json", "--embeddings", "e.npy")
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["image"] for line in lines], [str(bag)])
        self.assertEqual(lines[0]["texts"], ["bag", "coat", "shoe"])
        self.assertEqual(done.stderr.count("warning: bad.png: "), 2)
        self.assertIn("warning: 2 pictures could not be read", done.stderr)
        data = (self.dir / "e.npy").read_bytes()
        self.assertIn(b"(3, ", data[:128])
        rows = struct.unpack(f"<{(len(data) - 128) // 4}f", data[128:])
        width = len(rows) // 3
        self.assertTrue(all(value != value for value in rows[:width] + rows[2 * width:]))
        self.assertAlmostEqual(sum(value * value for value in rows[width:2 * width]), 1, delta=1e-5)
        self.fails(65, "bad.png", "infer", DEMO, "--image-list", "list.txt", "--labels", "labels.txt", "--strict")
        self.assertEqual(self.run_program("infer", DEMO, "--image", "bad.png", "--image", "bad.png", "--text", "x").returncode, 65)

    def test_openai_and_openclip_training_files(self):
        openclip = GOLDEN / "openclip"
        self.ok("convert", openclip / "openai.pt", "a.nemo", "--check")
        self.ok("convert", "a.nemo", "b", "--to", "hf", "--check")
        self.ok("convert", "b", "c.nemo", "--dialect", "legacy")
        self.ok("convert", "c.nemo", "d", "--to", "openclip")
        self.assertIn("equal: 50 tensors", self.ok("diff", "d", openclip / "openai.pt", "--canonical"))
        self.assertIn("torchscript", self.ok("inspect", openclip / "openai.pt"))
        shutil.copy(openclip / "openai.pt", self.dir / "model.bin")  # known by content
        self.ok("convert", "model.bin", "e.nemo")
        self.assertIn("equal", self.ok("diff", "e.nemo", "a.nemo"))
        self.fails(66, "expected the config of these weights", "convert", openclip / "epoch_3.pt", "x.nemo")
        self.fails(65, "ViT-B-32|shape", "convert", openclip / "epoch_3.pt", "x.nemo", "--preset", "ViT-B-32")
        self.ok("convert", openclip / "epoch_3.pt", "f.nemo", "--hparams", openclip / "epoch_3.json", "--check")
        self.ok("convert", "f.nemo", "g", "--to", "openclip", "--check")
        answer = json.loads((self.dir / "g" / "open_clip_config.json").read_text())["model_cfg"]
        config = json.loads((openclip / "epoch_3.json").read_text())["model_cfg"]
        self.assertEqual(answer["text_cfg"], config["text_cfg"])
        self.assertEqual(answer["vision_cfg"], config["vision_cfg"])
        (self.dir / "tiny.json").write_text(json.dumps(config))  # as open_clip/model_configs has them
        self.fails(65, "expected open_clip_config.json, found what is its model_cfg alone\nhint: put it into", "convert",
                   openclip / "epoch_3.pt", "x.nemo", "--hparams", "tiny.json")

    def test_towers_alone(self):
        towers = GOLDEN / "towers"
        texts = [w for text in json.loads((towers / "texts.json").read_text()) for w in ("--text", text)]
        inputs = {"vision": ["--image", CLIP / "test.jpg"], "text": texts}
        for name, words in (("vision", "vision"), ("vision_projected", "vision"), ("text", "text"), ("text_projected", "text")):
            self.ok("infer", towers / name, *inputs[words], "--embeddings", "e.npy", "--force")
            data = (self.dir / "e.npy").read_bytes()
            mine = struct.unpack(f"<{(len(data) - 128) // 4}f", data[128:])
            theirs = self.safetensors(towers / f"{name}.safetensors", "features")
            width = len(theirs) // (1 if words == "vision" else 3)
            for row in range(0, len(theirs), width):
                norm = sum(x * x for x in theirs[row:row + width]) ** 0.5
                for a, b in zip(mine[row:row + width], theirs[row:row + width], strict=True):
                    self.assertAlmostEqual(a, b / norm, delta=1e-5)
            self.ok("convert", towers / name, "half", "--to", "hf", "--dtype", "bf16", "--check", "--force")
            self.assertIn("same", self.ok("diff", "--forward", towers / name, towers / name))
            self.fails(65, "expected both towers for NeMo", "convert", towers / name, "x.nemo")
            self.fails(64, "expected both towers .*alone", "infer", towers / name, *inputs["vision"], *texts)
            other = "text" if words == "vision" else "vision"
            self.fails(64, "alone", "infer", towers / name, *inputs[other], "--embeddings", "x.npy")

    def safetensors(self, path, name):
        """The fp32 numbers of a tensor."""
        data = path.read_bytes()
        size, = struct.unpack("<Q", data[:8])
        begin, end = json.loads(data[8:8 + size])[name]["data_offsets"]
        return struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])

    def test_siglip_as_transformers(self):
        siglip = GOLDEN / "siglip"
        # SiglipModel of transformers 5.23 on hf_features.npz's input_ids and pixel_values, no mask: SigLIP was trained so.
        golden = {"a photo of 2 cats": 0.00192519, "a photo of 2 dogs": 0.00143413, "the license file": 0.00238073, "": 0.01493165}
        words = ["--image", siglip / "test.png", "--json", *(w for text in golden for w in ("--text", text))]
        self.ok("convert", siglip / "hf_siglip", "x.nemo", "--check")
        self.ok("convert", "x.nemo", "back", "--to", "hf")
        for model in (siglip / "hf_siglip", "x.nemo", "back"):
            answer = json.loads(self.ok("infer", model, *words))
            for mine, theirs in zip(answer["probabilities"], golden.values(), strict=True):
                self.assertAlmostEqual(mine, theirs, delta=1e-7)
        nemo = siglip / "siglip_32.nemo"  # as NeMo wrote it: no tokenizer
        self.fails(66, "expected spiece.model beside the weights", "infer", nemo, *words)
        shutil.copy(nemo, self.dir / "y.nemo")
        self.ok("edit", "y.nemo", "--artifact", f"tokenizer.model={siglip / 'hf_siglip' / 'spiece.model'}")
        answer = json.loads(self.ok("infer", "y.nemo", *words))
        for mine, theirs in zip(answer["probabilities"], golden.values(), strict=True):
            self.assertAlmostEqual(mine, theirs, delta=1e-4)  # its YAML's epsilon is another

    def test_rounded_products(self):
        words = ["infer", DEMO, "--image", DEMO / "images", "--labels", DEMO / "labels.txt", "--json"]
        exact = [json.loads(line)["probabilities"] for line in self.ok(*words).splitlines()]
        for compute in ("bf16", "int8"):
            rounded = [json.loads(line)["probabilities"] for line in self.ok(*words, "--compute", compute).splitlines()]
            self.assertNotEqual(exact, rounded)
            for a, b in zip(exact, rounded, strict=True):
                self.assertEqual(a.index(max(a)), b.index(max(b)))
                self.assertLess(max(abs(x - y) for x, y in zip(a, b, strict=True)), 0.05)
        self.fails(64, "--compute", *words, "--compute", "fp8")

    def test_embeddings_as_numpy(self):
        self.ok("infer", DEMO, "--image", DEMO / "images", "--text", "a", "--embeddings", "both.safetensors")
        self.ok("infer", DEMO, "--image", DEMO / "images", "--embeddings", "image.npy", "--batch", 5)
        self.ok("infer", DEMO, "--text", "a", "--embeddings", "text.npy")
        both = (self.dir / "both.safetensors").read_bytes()
        base = 8 + int.from_bytes(both[:8], "little")
        header = json.loads(both[8:base])
        for name in ("image", "text"):
            npy = (self.dir / f"{name}.npy").read_bytes()
            start = 10 + int.from_bytes(npy[8:10], "little")
            shape = header[name]["shape"]
            self.assertEqual((npy[:8], start % 64, npy[start - 1:start]), (b"\x93NUMPY\x01\0", 0, b"\n"))
            self.assertEqual(eval(npy[10:start]),
                             {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)})
            mine = struct.unpack(f"<{shape[0] * shape[1]}f", npy[start:])
            begin, end = (base + x for x in header[name]["data_offsets"])
            theirs = struct.unpack(f"<{shape[0] * shape[1]}f", both[begin:end])
            self.assertLess(max(abs(a - b) for a, b in zip(mine, theirs, strict=True)), 1e-6)
        self.fails(64, ".safetensors or .npy", "infer", DEMO, "--text", "a", "--embeddings", "x.csv")

    def swap_heads(self, source, destination, name, heads):
        """A copy of a Hugging Face folder in which the first two heads of one matrix are exchanged."""
        shutil.copytree(source, destination)
        path = destination / "model.safetensors"
        data = bytearray(path.read_bytes())
        base = 8 + int.from_bytes(data[:8], "little")
        start, end = json.loads(data[8:base])[name]["data_offsets"]
        size = (end - start) // heads
        a, b = base + start, base + start + size
        data[a:a + size], data[b:b + size] = data[b:b + size], data[a:a + size]
        path.write_bytes(data)

    def test_forward_differences(self):
        hf = CLIP / "hf"
        self.assertRegex(self.ok("diff", "--forward", hf, CLIP / "legacy_tp2.nemo"), r"same: 11 steps within 1e-05\n$")
        self.swap_heads(hf, self.dir / "swapped", "vision_model.encoder.layers.2.self_attn.v_proj.weight", 4)
        done = self.run_program("diff", "--forward", hf, "swapped")
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertRegex(done.stdout, r"first divergence: vision\.layers\.2 \(relative 0\.\d+, tolerance 1e-05\)\n$")
        done = self.run_program("diff", "--forward", hf, "swapped", "--json", "--image", CLIP / "test.jpg", "--text", "a")
        answer = json.loads(done.stdout)
        self.assertEqual((done.returncode, answer["equal"], answer["first_divergence"]), (1, False, "vision.layers.2"))
        self.assertEqual(answer["layers"][0], {"name": "vision.pixels", "max_abs": 0, "relative": 0, "detail": ""})
        self.ok("diff", "--forward", hf, "swapped", "--tolerance", 10)

    def test_convert_checks_what_it_wrote(self):
        self.assertRegex(self.ok("convert", CLIP / "hf", "a.nemo", "--check"), r"\ncheck: same: 11 steps within 1e-05\n$")
        self.ok("convert", "a.nemo", "b", "--to", "openclip", "--dtype", "bf16", "--check")
        self.ok("convert", "a.nemo", "c.safetensors", "--dialect", "legacy", "--check")
        done = self.run_program("convert", CLIP / "hf", "d.nemo", "--check", "--set", "text.activation=gelu")
        self.assertEqual(done.returncode, 1)
        self.assertIn("first divergence: text.layers.0", done.stdout)
        self.fails(65, "--check: .*expected a CLIP", "convert", GOLDEN / "gpt" / "A.nemo", "e.nemo", "--check")

    def test_partitions_of_an_encoder_decoder(self):
        """NeMo's flags as its documentation gives them; an encoder of 2 layers on one stage, a decoder of 3 on three."""
        source = GOLDEN / "t5" / "t5.nemo"
        words = ("nemo", "megatron_change_num_partitions", "--model_file", source, "--target_file", "t.nemo",
                 "--tensor_model_parallel_size=1", "--target_tensor_model_parallel_size=2",
                 "--pipeline_model_parallel_size=1", "--target_pipeline_model_parallel_size=4",
                 "--model_class=nemo.collections.nlp.models.language_modeling.megatron_t5_model.MegatronT5Model")
        done = self.run_program(*words, "--target_pipeline_model_parallel_split_rank=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("NeMo's script would convert to fp16", done.stderr)
        self.assertEqual(self.ok("inspect", "t.nemo", "--config", "pipeline_model_parallel_split_rank").strip(), "1")
        self.ok("reshard", "t.nemo", "back.nemo", "--tp", "1", "--pp", "1")
        same = self.run_program("diff", source, "back.nemo").stdout
        self.assertNotRegex(same, r"(?m)^tensor")
        self.fails(64, "1 to 3 for 4 stages, found 4", "reshard", source, "x.nemo", "--pp", "4", "--split-rank", "4")
        self.fails(64, "3 layers of the decoder", "reshard", source, "x.nemo", "--pp", "4")

    def test_resharding_changes_no_probability(self):
        """CLIP 1 → 4×2 → 1: the same to the last bit, and from the eight ranks themselves."""
        ask = ("--image", CLIP / "test.jpg", "--text", "a dog", "--text", "a boy", "--text", "a girl", "--json")
        for name in ("mcore", "legacy"):
            whole = GOLDEN / "clip_pp" / f"{name}.nemo"
            split = self.run_program("reshard", whole, f"{name}42.nemo", "--tp", "4", "--pp", "2")
            self.assertIn("cannot run it", split.stderr)
            self.ok("reshard", f"{name}42.nemo", f"{name}1.nemo", "--tp", "1", "--pp", "1")
            said = [json.loads(self.ok("infer", f, *ask))["probabilities"] for f in (whole, f"{name}42.nemo", f"{name}1.nemo")]
            self.assertEqual(said[0], said[1])
            self.assertEqual(said[0], said[2])

    def test_questions_answered_no(self):
        broken = CLIP / "broken_mcore_tp2_left_unsplit.nemo"
        done = self.run_program("verify", broken)
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (1, "1 problem"))
        self.assertIn("linear_proj.weight: expected [64, 32]", done.stdout)
        shutil.copytree(GOLDEN / "dist" / "nemo2_llama" / "hf", self.dir / "cut")
        self.ok("verify", "cut")
        os.truncate(self.dir / "cut" / "tokenizer.model", 100)
        done = self.run_program("verify", "cut")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cut: tokenizer.model: byte 93: expected a protocol buffer's field", done.stdout)
        self.assertEqual(self.run_program("diff", CLIP / "mcore.nemo", CLIP / "legacy.nemo").returncode, 1)
        (self.dir / "evil.pkl").write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
        done = self.run_program("scan", "evil.pkl")
        self.assertEqual(done.returncode, 1)
        self.assertIn("posix system", done.stdout)

    def test_idle_torchrun_ranks_say_nothing(self):
        done = self.run_program("convert", env={"RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


unittest.main(argv=sys.argv[:1])
