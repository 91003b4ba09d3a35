"""What people type: help, typing errors, many values, destinations. Standard library only.

usage: usage_test.py PROGRAM GOLDEN SOURCE
"""

import csv
import gzip
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import time
import unittest
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from program_case import ProgramCase  # noqa: E402

PROGRAM, GOLDEN, SOURCE = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
ProgramCase.program = PROGRAM
CLIP = GOLDEN / "clip"
DEMO = SOURCE / "models" / "demo-clip"


class Help(ProgramCase):
    def test_help_and_version_in_every_spelling(self):
        self.assertEqual(self.ok("help"), self.ok("--help"))
        self.assertEqual(self.ok("help", "convert"), self.ok("convert", "--help"))
        self.assertIn("--input_name_or_path", self.ok("help", "nemo", "convert_clip_hf_to_nemo"))
        self.fails(64, "expected a command, found 'inspct'\nhint: did you mean inspect", "help", "inspct")
        version = self.ok("version")
        self.assertRegex(version, r"^anemone \d+\.\d+\.\d+\n$")
        self.assertEqual(self.ok("-V"), version)
        self.assertEqual(self.ok("--version"), version)
        more = self.ok("version", "-v")
        for row in ("processor", "mpi", "products", "blas"):
            self.assertRegex(more, rf"(?m)^{row} +\w")

    def products(self, **env):
        return re.search(r"(?m)^products +(.*)", self.ok("version", "-v", env=env))[1]

    def test_the_library_for_products_is_chosen_with_a_reason(self):
        self.assertRegex(self.products(), r"^(own|openblas|onednn): \w")
        for library in ("own", "openblas", "onednn"):
            self.assertEqual(self.products(ANEMONE_GEMM=library), f"{library}: ANEMONE_GEMM asks for it")
            told = self.run_program("infer", "-v", DEMO, "--image", DEMO / "images" / "bag.jpg", "--text", "a bag", "a coat", env={"ANEMONE_GEMM": library})
            self.assertIn(f"note: products: {library}: ANEMONE_GEMM asks for it", told.stderr)
            self.assertRegex(told.stdout, r"\('a bag', 0\.997")
        wrong = "ANEMONE_GEMM: expected own, openblas or onednn, found 'mkl'"
        self.fails(64, wrong, "version", "-v", env={"ANEMONE_GEMM": "mkl"})
        self.fails(64, wrong, "infer", DEMO, "--image", DEMO / "images" / "bag.jpg", "--text", "a bag", env={"ANEMONE_GEMM": "mkl"})
        if "AVX2" in self.ok("version", "-v"):
            self.assertRegex(self.products(), r"^own: its loop is made for AVX(2|-512)$")
            self.assertEqual(self.products(ANEMONE_INSTRUCTIONS="AVX2"), "own: its loop is made for AVX2")
        # The loop for processors without AVX2 is taken only where it is the fastest.
        self.assertRegex(self.products(ANEMONE_INSTRUCTIONS="SSE4"), r"^\w+: on 257 × 128 × 1024 own \(SSE4\) takes [\d.]+ ms, onednn \(\) takes .* ms, openblas \(\w+\) takes .* ms$")

    def test_a_library_for_products_that_is_missing(self):
        broken = {"openblas": ("libopenblas.so.0", "libopenblas.so"), "onednn": ("libdnnl.so.2", "libdnnl.so.3")}
        paths = {}
        for library, names in broken.items():
            paths[library] = str(self.dir / library)
            os.mkdir(paths[library])
            for name in names:
                (self.dir / library / name).write_text("no library")
        picture = ("infer", DEMO, "--image", DEMO / "images" / "bag.jpg", "--text", "a bag", "a coat")
        for library, path in paths.items():
            other = "openblas" if library == "onednn" else "onednn"
            self.assertRegex(self.products(LD_LIBRARY_PATH=path, ANEMONE_INSTRUCTIONS="SSE4"), rf"^(own|{other}): on .* own \(SSE4\) takes [\d.]+ ms, {other} [^,]*$")
        for path in paths.values():
            self.assertIn("('a bag', 0.997", self.ok(*picture, env={"LD_LIBRARY_PATH": path}))
        for library, path in paths.items():
            self.fails(69, "ANEMONE_GEMM: .*lib(openblas|dnnl)", *picture, env={"LD_LIBRARY_PATH": path, "ANEMONE_GEMM": library})
        neither = ":".join(paths.values())
        self.assertRegex(self.products(LD_LIBRARY_PATH=neither, ANEMONE_INSTRUCTIONS="SSE4"), r"^own: on .* own \(SSE4\) takes [\d.]+ ms$")
        self.assertIn("('a bag', 0.997", self.ok(*picture, env={"LD_LIBRARY_PATH": neither}))

    def test_help_fits_the_terminal_and_has_topics(self):
        for columns in (60, 80, 110):
            for command in ("convert", "infer", "nemo"):
                text = self.ok(command, "--help", env={"COLUMNS": str(columns)})
                body = text.split("Examples:")[0]
                wide = [line for line in body.splitlines() if len(line) > columns and not re.match(r" {2}(\S|  )", line)]
                self.assertEqual(wide, [])
        text = self.ok("convert", "--help")
        for topic in ("Arguments", "Output", "Layout", "Weights", "Config and files", "Options of every command", "Examples"):
            self.assertIn(f"\n{topic}:\n", text)
        self.assertRegex(text, r"--to VALUE +Format to write.*: nemo,\s+nemo-dir,\s+ckpt")
        self.assertRegex(text, r"--preset VALUE(.|\n)*ViT-L-14,")
        self.assertNotIn("--manual", text)

    def test_completion_prints_what_is_installed(self):
        for shell, name in (("bash", "anemone"), ("zsh", "_anemone"), ("fish", "anemone.fish")):
            self.ok("--manual", shell, self.dir)
            self.assertEqual(self.ok("completion", shell), (self.dir / name).read_text())
        self.fails(64, "expected one of bash, zsh, fish", "completion", "tcsh")

    def test_completion_offers_values(self):
        self.ok("--manual", "bash", self.dir)
        script = self.dir / "anemone"
        def complete(*words):
            line = " ".join(f"'{w}'" for w in words)
            done = subprocess.run(["bash", "-c", f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _anemone; "
                                   "printf '%s\\n' \"${COMPREPLY[@]}\""], cwd=self.dir, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return done.stdout.split("\n")[:-1]
        self.assertIn("openclip", complete("anemone", "convert", "a", "b", "--to", ""))
        self.assertEqual(complete("anemone", "convert", "--dtype", "b"), ["bf16"])
        self.assertEqual(complete("anemone", "convert", "a", "--progress", "al"), ["always"])
        self.assertIn("megatron_clip_infer", complete("anemone", "nemo", "megatron_cl"))
        self.assertEqual(complete("anemone", "help", "insp"), ["inspect"])
        self.assertIn("--image", complete("anemone", "infer", "--im"))
        (self.dir / "a b.nemo").write_text("")
        self.assertEqual(sorted(complete("anemone", "inspect", "a")), ["a b.nemo", "anemone"])


class TypingErrors(ProgramCase):
    def test_the_nearest_is_proposed(self):
        hf = CLIP / "hf"
        for meant, *words in (("inspect", "inspct", "x"), ("--tensors", "inspect", hf, "--tensor"),
                              ("--text", "infer", hf, "--texts", "a"), ("--image", "infer", hf, "--images=a.jpg"),
                              ("--threads", "inspect", hf, "--thread", "2"), ("--to", "convert", hf, "x", "-to", "nemo"),
                              ("--family", "plan", "--famly", "clip"), ("keep", "convert", hf, "x.nemo", "--dtype", "kep"),
                              ("safetensors", "convert", hf, "x", "--to", "safetensor"),
                              ("always", "inspect", hf, "--progress", "alway"),
                              ("convert_clip_hf_to_nemo", "nemo", "convert_clip"),
                              ("megatron_clip_infer", "nemo", "megatron_clip_infr")):
            self.fails(64, f"did you mean {meant}\\?", *words)
        self.fails(66, "did you mean vision.hidden_size", "inspect", CLIP / "mcore.nemo", "--config", "visoin.hidden_size")
        self.fails(64, "found nothing\nhint: it has: .*megatron_clip_infer", "nemo")
        self.fails(64, "found 'nothing_like_it'\nhint: it has: .*megatron_clip_infer", "nemo", "nothing_like_it")

    def test_words_in_any_case(self):
        """As torch, safetensors and other systems' files spell them."""
        for word, meant in (("BF16", "bf16"), ("FP16", "fp16"), ("torch.bfloat16", "bf16"), ("torch.half", "fp16"), ("Half", "fp16"),
                            ("F32", "fp32"), ("float32", "fp32"), ("KEEP", "fp32")):
            self.ok("convert", CLIP / "mcore.nemo", "x.safetensors", "--dtype", word, "--force", "--extra-state", "DROP")
            self.assertIn(f"{meant}", {t["dtype"] for t in json.loads(self.ok("inspect", "x.safetensors", "--tensors", "--json"))["tensors"]})
        self.fails(64, "expected keep, fp32, bf16 or fp16, found 'FP8'", "convert", CLIP / "mcore.nemo", "x.nemo", "--dtype", "FP8")
        for name, flavour in (("x.PT", "pytorch"), ("x.NEMO", "nemo"), ("x.SafeTensors", "safetensors"), ("x.Bin", "pytorch")):
            self.ok("convert", CLIP / "mcore.nemo", name)
            self.assertEqual(json.loads(self.ok("inspect", name, "--json"))["format"], flavour)
        self.ok("convert", CLIP / "mcore.nemo", "folder", "--to", "NeMo-Dir")
        self.fails(64, "X.H5: cannot tell the format to write from this name: HDF5 is not written", "convert", CLIP / "mcore.nemo", "X.H5")

    def test_a_nemo_under_the_name_of_another_format(self):
        self.ok("extract", CLIP / "mcore.nemo", "folder")
        for name, title in (("x.safetensors", "safetensors file"), ("x.ckpt", "Lightning checkpoint"), ("x.PT", "torch file")):
            message = f"^anemone: {name}: expected the name of a .nemo, found that of a {title}.*\nhint: convert writes other formats"
            self.fails(64, message, "edit", CLIP / "mcore.nemo", "-o", name, "--set", "optim.lr=1")
            self.fails(64, message, "pack", "folder", name)
        self.ok("pack", "folder", "x")
        self.ok("edit", "x", "--set", "optim.lr=1")

    def test_an_item_of_a_list(self):
        for command in (["edit", CLIP / "mcore.nemo", "-o"], ["convert", CLIP / "mcore.nemo"]):
            for index, betas in (("[0]", "- 0.5\n- 0.98\n"), (".1", "- 0.9\n- 0.5\n"), ("[-1]", "- 0.9\n- 0.5\n")):
                self.ok(*command, "x.nemo", "--force", "--set", f"optim.betas{index}=0.5")
                self.assertEqual(self.ok("inspect", "x.nemo", "--config", "optim.betas"), betas)
            for sign in ("", "+"):
                words = f"{re.escape(str(command[1]))}: optim.betas\\[2\\]: expected an index inside the list, found '2'"
                self.fails(64, words, *command, "y.nemo", "--set", f"{sign}optim.betas[2]=1")

    def test_a_list_in_another_encoding(self):
        for content in ("bag\n".encode("utf-16"), b"bag\0\n"):
            (self.dir / "list").write_bytes(content)
            for words in (["--labels", "list", "--image", "x.jpg"], ["--image-list", "list", "--text", "bag"]):
                self.fails(64, "list: expected UTF-8 text, found zero bytes\nhint: save it as UTF-8", "infer", SOURCE / "models/demo-clip", *words)

    def test_a_list_without_lines_and_one_in_latin_1(self):
        for content, message in ((b"", "expected a label on each line, found none"), (b"\n \n", "expected a label on each line, found none"),
                                 (b"caf\xe9\n", r"expected UTF-8 text, found 'caf\\xe9'\nhint: save it as UTF-8")):
            (self.dir / "list").write_bytes(content)
            self.fails(64, f"^anemone: list: {message}", "infer", SOURCE / "models/demo-clip", "--labels", "list", "--image", "x.jpg")
        (self.dir / "list").write_bytes(b"\n")
        for option, message in (("--templates", "a template"), ("--image-list", "a picture's path")):
            self.fails(64, f"^anemone: list: expected {message} on each line, found none", "infer", SOURCE / "models/demo-clip", option, "list",
                       "--text", "bag", "--image", SOURCE / "models/demo-clip/images/bag.jpg")

    def test_half_a_tokenizer(self):
        for missing, found in (("merges.txt", "vocab.json"), ("vocab.json", "merges.txt")):
            shutil.copytree(SOURCE / "models/demo-clip", self.dir / "half")
            (self.dir / "half" / missing).unlink()
            self.fails(66, f"half: expected {missing} beside {found}, found none", "infer", "half",
                       "--image", SOURCE / "models/demo-clip/images/bag.jpg", "--text", "a bag")
            shutil.rmtree(self.dir / "half")

    def test_folders_of_macos_are_no_classes(self):
        for name in ("bag/a.jpg", "coat/b.jpg", "__MACOSX/bag/._a.jpg"):
            (self.dir / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / "models/demo-clip/images/bag.jpg", self.dir / "data" / name)
        done = self.run_program("infer", SOURCE / "models/demo-clip", "--dataset", "data")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("left out: 1 hidden files and folders, first data/__MACOSX", done.stderr)

    def test_a_relative_of_clip_is_named(self):
        """Whatever its tensors are called."""
        for model, tensor in (("clipseg", "decoder.film_mul.bias"), ("owlvit", "box_head.dense0.bias")):
            folder = self.dir / model
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps({"model_type": model, "text_config": {}, "vision_config": {}}))
            header = json.dumps({tensor: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
            (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
            message = f"config.json: expected a model of a known family by model_type and architectures, found {model}\n"
            self.fails(65, message, "convert", model, "x.nemo")
            self.fails(65, message, "infer", model, "--image", DEMO / "images/bag.jpg", "--text", "a")
            self.assertIn(f"{model}: not a known family", self.ok("inspect", model))

    def test_quantized_weights_are_named_by_every_command(self):
        folder = self.dir / "mlx"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization": {"group_size": 64, "bits": 4}}))
        layer = "model.layers.0.mlp.up_proj"
        tensors = {f"{layer}.weight": "U32", f"{layer}.scales": "F32", f"{layer}.biases": "F32"}
        header = json.dumps({name: {"dtype": dtype, "shape": [1, 1], "data_offsets": [4 * i, 4 * i + 4]} for i, (name, dtype) in enumerate(tensors.items())})
        (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(4 * len(tensors)))
        message = r"biases: expected weights as they are, found quantized ones \(MLX's\)"
        self.fails(65, message, "convert", "mlx", "x.nemo")
        self.fails(65, message, "infer", "mlx", "--image", DEMO / "images/bag.jpg", "--text", "a")
        self.assertIn("unknown, quantized weights (MLX's): tensors keep their names", self.ok("inspect", "mlx"))
        self.assertEqual(json.loads(self.ok("inspect", "mlx", "--json"))["stored_as"], "quantized weights (MLX's)")
        self.assertIn("its family is not known: quantized weights (MLX's)", self.ok("verify", "mlx"))
        self.assertIn("is not known (quantized weights (MLX's)): tensors", self.run_program("convert", "mlx", "x.safetensors").stderr)

    def test_a_dataset_of_train_and_val(self):
        """Both are taken as classes, as torchvision does, and a note says so."""
        for name in ("train/bag", "train/coat", "val/bag"):
            (self.dir / "data" / name).mkdir(parents=True)
            shutil.copy(SOURCE / "models/demo-clip/images/bag.jpg", self.dir / "data" / name)
        said = self.run_program("infer", SOURCE / "models/demo-clip", "--dataset", "data").stderr
        self.assertIn("note: train, val are taken as classes", said)
        self.assertIn("give data/val", said)
        said = self.run_program("infer", SOURCE / "models/demo-clip", "--dataset", "data/train").stderr
        self.assertNotIn("are taken as classes", said)

    def test_lists_that_nobody_asked_for_end(self):
        """Of notes, problems and files people see the first twenty and how many more there are; with -v all."""
        shutil.copytree(CLIP / "hf", self.dir / "hf")
        config = json.loads((self.dir / "hf/config.json").read_text())
        (self.dir / "hf/config.json").write_text(json.dumps(config | {f"unknown_{i}": i for i in range(50)}))
        for words in (["convert", "hf", "x.nemo", "--no-strict", "--force"],):
            brief = self.run_program(*words).stderr.splitlines()
            self.assertEqual(len([line for line in brief if ": note: " in line]), 21, brief)
            self.assertRegex(brief[-1], r"note: … \d+ more notes \(-v lists all\)")
            whole = self.run_program(*words, "-v").stderr
            for i in range(50):
                self.assertIn(f"unknown_{i}:", whole)
        self.ok("convert", CLIP / "mcore.nemo", "archive", "--to", "nemo-dir")
        for i in range(50):
            (self.dir / "archive" / f"file_{i:02}.txt").write_text("x")
        self.assertRegex(self.ok("inspect", "archive"), r"\n +… \d+ more files \(-v lists all\)\n")
        self.assertIn("file_49.txt", self.ok("inspect", "archive", "-v"))
        self.assertIn("file_49.txt", self.ok("inspect", "archive", "--artifacts"))
        self.assertIn("file_49.txt", self.ok("inspect", "archive", "--json"))
        pickle = b"(" + b"".join(b"cmodule%d\nname\n" % i for i in range(50)) + b"cos\nsystem\nt."
        (self.dir / "many.pkl").write_bytes(pickle)
        done = self.run_program("scan", "many.pkl")
        self.assertEqual(done.returncode, 1)
        self.assertIn("DANGEROUS", done.stdout)
        self.assertIn("… 31 more findings (-v lists all)", done.stdout)
        self.assertEqual(len(json.loads(self.run_program("scan", "many.pkl", "--json").stdout)["findings"]), 51)
        (self.dir / "files").mkdir()
        for i in range(50):
            shutil.copy(CLIP / "hf" / "vocab.json", self.dir / "files" / f"{i}.jpg")
        done = self.run_program("infer", SOURCE / "models/demo-clip", "--image", "files", SOURCE / "models/demo-clip/images/bag.jpg",
                                "--text", "a")
        self.assertEqual(done.stderr.count("anemone: warning: files/"), 20, done.stderr)
        self.assertIn("… 30 more pictures (-v lists all)", done.stderr)

    def test_a_message_ends(self):
        """A value of a file may be in it, of any length."""
        shutil.copytree(CLIP / "hf", self.dir / "hf")
        (self.dir / "hf/preprocessor_config.json").write_text(json.dumps({"size": ["a long value"] * 10_000}))
        said = self.fails(65, "preprocessor_config.json: size: expected .*, found .*… \\(-v shows all\\)\n", "convert", "hf", "x.nemo")
        self.assertLess(len(said), 2100)
        self.assertGreater(len(self.run_program("convert", "hf", "x.nemo", "-v").stderr), 100_000)

    def test_what_a_plan_says_of_memory(self):
        """The program, the plan and its buffers, as the run then takes them."""
        for output in ("x.safetensors", "x.nemo"):
            words = ["convert", CLIP / "mcore.nemo", output, "--threads", "2"]
            planned = json.loads(self.ok(*words, "--plan", "--json"))["peak_memory_bytes"]
            used = self.peak(*words)
            self.assertLess(used, planned + (4 << 20))
            self.assertGreater(used, planned - (24 << 20))

    def test_values_in_our_words(self):
        hf = CLIP / "hf"
        self.fails(64, "--tp: expected a number, found 'two'", "convert", hf, "x.nemo", "--tp", "two")
        self.fails(64, "--tp: expected N, found nothing", "convert", hf, "x.nemo", "--tp")
        self.fails(64, "--tensors: expected no value", "inspect", hf, "--tensors=3")
        self.fails(64, "--json: expected --plan", "convert", hf, "x.nemo", "--json")
        self.fails(64, "MODEL is required\nhint: put MODEL before --image", "infer", "--image", "a.jpg", "b.jpg", hf, "--text", "a")


    def test_paths(self):
        shutil.copytree(CLIP / "hf", self.dir / "models" / "demo")
        self.fails(66, "models/demp: no such file or folder\nhint: did you mean models/demo\\?", "inspect", "models/demp")
        self.fails(66, "hint: models/ is a folder here; a model of the hub is then named hf://models/other-thing", "inspect",
                   "models/other-thing")
        self.fails(66, "hint: addresses begin with https://", "inspect", "ftp://host/x.nemo")
        self.fails(66, "-: no such file or folder\nhint: standard input is not read", "inspect", "-")

    def test_bench_measures_and_leaves_nothing(self):
        shutil.copytree(CLIP / "hf", self.dir / "model")
        before = sorted(self.dir.rglob("*"))
        said = json.loads(self.ok("bench", "model", "--json"))
        self.assertEqual(sorted(self.dir.rglob("*")), before)
        self.assertEqual(said["bytes"], (self.dir / "model" / "model.safetensors").stat().st_size)
        self.assertGreater(min(said["read_cached_bytes_per_second"], said["write_bytes_per_second"]), 0)
        ways = {way["way"]: way for way in said["ways"]}
        for to in ("hf", "nemo"):
            plan = json.loads(self.ok("convert", "model", "out", "--to", to, "--plan", "--json"))
            way = ways[f"convert --to {to}"]
            self.assertEqual((way["bytes_written"], way["bytes_shared"]), (plan["bytes_of_disk"], plan["bytes_shared"]))
            self.assertLessEqual(way["bytes_written"], way["bytes_read"])
            self.assertEqual(way["bytes_shared"] > 0, said["shares_blocks"])
        self.assertEqual(ways["mount"]["bytes_written"], 0)
        direct = None if said["is_cached"] else said["read_direct_bytes_per_second"]
        rates = [said["write_bytes_per_second"], direct or said["read_cached_bytes_per_second"]]
        for way in ways.values():
            expected = max(way["bytes_written"] / rates[0], way["bytes_read"] / rates[1])
            self.assertAlmostEqual(way["seconds"] / expected, 1, places=2)
        self.assertRegex(self.ok("bench", "model"), r"convert --to hf +about [0-9.]+ s, [0-9.]+ [kM]B written")
        self.fails(66, "absent: no such file or folder", "bench", "absent")

    def test_every_command_that_reads_a_path_names_the_nearest(self):
        shutil.copy(CLIP / "mcore.nemo", self.dir / "clip.nemo")
        shutil.copy(DEMO / "images" / "bag.jpg", self.dir)
        (self.dir / "labels.txt").write_text("a bag\n")
        (self.dir / "hparams.yaml").write_text("a: 1\n")
        for words in (("inspect", "clp.nemo"), ("verify", "clp.nemo"), ("scan", "clp.nemo"), ("diff", "clip.nemo", "clp.nemo"),
                      ("extract", "clp.nemo", "x"), ("cat", "clp.nemo", "x"), ("edit", "clp.nemo", "--set", "a=1"),
                      ("convert", "clp.nemo", "y.nemo"), ("reshard", "clp.nemo", "y.nemo", "--tp", 2), ("report", "clp.nemo", "-o", "x.html"),
                      ("average", "clip.nemo", "clp.nemo", "y.nemo"), ("infer", "clp.nemo", "--image", "bag.jpg", "--text", "a")):
            self.fails(66, "clp.nemo: .*\nhint: did you mean clip.nemo\\?", *words)
        for meant, *words in (("bag.jpg", "infer", DEMO, "--image", "bga.jpg", "--text", "a"),
                              ("labels.txt", "infer", DEMO, "--image", "bag.jpg", "--labels", "lables.txt"),
                              ("hparams.yaml", "edit", "clip.nemo", "--artifact", "x=hparam.yaml")):
            self.fails(66, f"hint: did you mean {meant}\\?", *words)
        self.fails(66, "^anemone: --hparams: hparam.yaml: cannot open: .*\nhint: did you mean hparams.yaml\\?", "convert", "clip.nemo", "y.nemo",
                   "--hparams", "hparam.yaml")
        (self.dir / "latin.yaml").write_bytes(b"a: \xe4\n")
        self.fails(65, "^anemone: --hparams: latin.yaml: expected UTF-8", "convert", "clip.nemo", "y.nemo", "--hparams", "latin.yaml")


class OddNames(ProgramCase):
    def test_bytes_that_are_not_utf8(self):
        """run_program decodes both streams as UTF-8; JSON has the name as Python's os.fsdecode has it."""
        name = os.fsdecode(b"d\xff\xc3\xa9")
        shutil.copytree(CLIP / "hf", self.dir / name)
        found = json.loads(self.ok("inspect", name, "--json"))
        self.assertEqual(found["path"], name)
        self.assertIn("d\\xffé", self.ok("inspect", name))
        self.assertIn("d\\xff", self.ok("convert", name, name + ".nemo"))
        self.fails(66, r"d\\xffé\\xed\\xa0\\x80: no such file or folder", "inspect", name + os.fsdecode(b"\xed\xa0\x80"))
        self.fails(66, r"\\xc2\\x9bx: no such file or folder", "inspect", "\x9bx")  # CSI, as some terminals take it


    def test_brackets(self):
        """Neither a text nor a name is a list of several."""
        texts = ["[a dog, a cat]", "[]", "[a", "b]", "[[c]]"]
        said = self.ok("infer", DEMO, "--image", GOLDEN / "clip" / "test.jpg", "--json", "--text", *texts, "--text=[x, y]")
        self.assertEqual(json.loads(said)["texts"], [*texts, "[x, y]"])
        for name in ("[x]", "[a,b].nemo", "[]"):
            shutil.copy(CLIP / "mcore.nemo", self.dir / name)
            self.assertEqual(json.loads(self.ok("inspect", name, "--json"))["path"], name)
        self.fails(66, r"anemone: \[y\]: no such file", "inspect", "[y]")
        self.fails(64, r"unknown argument \[z\]", "reshard", "[x]", "y.nemo", "[z]")
        self.fails(64, r"--tp: expected a number, found '\[2\]'", "reshard", "[x]", "y.nemo", "--tp", "[2]")


class Colors(ProgramCase):
    def test_where_they_are_wanted(self):
        escape = "\x1b["
        self.assertNotIn(escape, self.ok("inspect", CLIP / "mcore.nemo"))
        self.assertIn(escape + "36mpath", self.ok("inspect", CLIP / "mcore.nemo", "--color", "always"))
        self.assertIn(escape + "1mOptions", self.ok("inspect", "--help", "--color", "always"))
        self.assertIn(escape + "1;31manemone:", self.run_program("inspect", "nope", "--color", "always").stderr)
        self.fails(64, "--color: expected one of auto, always, never", "inspect", CLIP / "mcore.nemo", "--color", "red")
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.ok("inspect", CLIP / "mcore.nemo", "--color", "always"))
        self.assertEqual(plain, self.ok("inspect", CLIP / "mcore.nemo"))

    def test_on_a_terminal(self):
        def on_terminal(*words, **environment):
            keep = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
            command = " ".join(f"'{word}'" for word in (PROGRAM, *words))
            return subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=60,
                                  env={**keep, "TERM": "xterm", **environment}).stdout

        if not shutil.which("script"):
            self.skipTest("no script(1)")
        words = ("inspect", CLIP / "mcore.nemo")
        self.assertIn("\x1b[", on_terminal(*words))
        for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\x1b", on_terminal(*words, **environment))
        self.assertIn("\x1b[", on_terminal(*words, NO_COLOR=""))
        self.assertNotIn("\x1b", on_terminal(*words, "--color", "never"))


class Manual(ProgramCase):
    def test_pages_have_their_sections(self):
        self.ok("--manual", "man", self.dir)
        for name in ("anemone.1", "anemone-convert.1"):
            page = (self.dir / name).read_text()
            for section in ("EXIT STATUS", "ENVIRONMENT", "FILES"):
                self.assertIn(f".SH {section}\n", page, name)
        self.assertIn("NO_COLOR", page)
        self.assertIn("anemone\\-tmp", page)


class Inspecting(ProgramCase):
    def test_sizes_and_origin(self):
        told = json.loads(self.ok("inspect", CLIP / "mcore.nemo", "--json"))
        self.assertEqual(told["sizes"]["vision"], {"layers": 3, "width": 64, "heads": 4, "patch": 8, "image": 32, "positions": 17})
        self.assertEqual(told["sizes"]["text"]["vocabulary"], 49408)
        self.assertEqual(told["file_bytes"], (CLIP / "mcore.nemo").stat().st_size)
        self.assertEqual(told["origin"]["nemo version"], "2.0.0")
        text = self.ok("inspect", CLIP / "hf")
        self.assertRegex(text, r"(?m)^sizes +vision 3 × 64, 4 heads, patch 8, 32 px$")
        ckpt = next((CLIP / "ckpt_mcore").glob("*.ckpt"))
        self.assertRegex(self.ok("inspect", ckpt), r"(?m)^origin .*step 3, consumed samples 12$")
        self.assertNotRegex(self.ok("inspect", CLIP / "mcore.nemo"), r"(?m)^target")
        self.assertRegex(self.ok("inspect", CLIP / "mcore.nemo", "-v"), r"(?m)^target +nemo\.collections\.")
        self.assertTrue(all(len(line) <= 100 for line in self.ok("inspect", CLIP / "mcore.nemo").splitlines() if not line.startswith(("path", "next", " "))))
        gpt = json.loads(self.ok("inspect", GOLDEN / "gpt" / "A.nemo", "--json"))["sizes"]["model"]
        self.assertEqual(gpt["layers"], int(self.ok("inspect", GOLDEN / "gpt" / "A.nemo", "--config", "num_layers")))

    def test_what_ranks_share_counts_once(self):
        whole = json.loads(self.ok("inspect", CLIP / "mcore.nemo", "--json"))["parameters"]
        split = json.loads(self.ok("inspect", CLIP / "mcore_tp2.nemo", "--json"))
        self.assertEqual(split["parameters"], whole)
        self.assertGreater(split["bytes"], 4 * whole)
        self.assertRegex(self.ok("inspect", CLIP / "mcore_tp2.nemo"), r"(?m)^weights +2.60 M parameters in 74 fp32 tensors, 10.4 MB; stored on 2 ranks as ")
        for name in ("mcore_pp2.nemo", "mcore_tp2pp2.nemo", "legacy_tp2pp2.nemo"):
            of_one = name.split("_")[0] + ".nemo"
            self.assertEqual(*(json.loads(self.ok("inspect", GOLDEN / "clip_pp" / n, "--json"))["parameters"] for n in (name, of_one)))

    def test_a_split_that_cannot_be_merged_is_told_at_once(self):
        broken = CLIP / "broken_mcore_tp2_left_unsplit.nemo"
        text = self.ok("inspect", broken)
        self.assertRegex(text, r"(?m)^problem +model\..*: expected \[64, 32\] on each of 2 tensor ranks, found the whole \[64, 64\]")
        self.assertIn("left unsplit", text)
        told = json.loads(self.ok("inspect", broken, "--json"))
        self.assertIn("found the whole", told["problem"])
        self.assertEqual(told["next"], [f"anemone verify {broken}"])
        self.assertIsNone(json.loads(self.ok("inspect", CLIP / "mcore_tp2.nemo", "--json"))["problem"])

    def test_tree(self):
        text = self.ok("inspect", CLIP / "mcore.nemo", "--tree")
        self.assertRegex(text, r"0–2 +3 × 50.0 k\n")
        self.assertRegex(text, r"└─ head.weight +1.54 k +fp32 \[32, 48\]\n$")
        self.assertRegex(self.ok("inspect", CLIP / "mcore_tp2.nemo", "--tree"), r"(?m)^tp1 pp0 ")

    def test_a_training_folder(self):
        source = next((CLIP / "ckpt_mcore").glob("*.ckpt"))
        checkpoints = self.dir / "nemo_experiments" / "clip" / "2026-11-28_12-00-00" / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints.parent / "cmd-args.log").write_text("x")
        shutil.copy(source, checkpoints)
        done = self.run_program("inspect", "nemo_experiments")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("note: the only checkpoint in nemo_experiments is ", done.stderr)
        self.assertRegex(done.stdout, r"(?m)^format +lightning")
        shutil.copy(CLIP / "mcore.nemo", checkpoints / "clip.nemo")
        (checkpoints.parent / "more").mkdir()
        shutil.copy(CLIP / "mcore.nemo", checkpoints.parent / "more" / "x.nemo")
        (checkpoints.parent / "more" / "note.txt").write_text("x")
        self.fails(65, "expected one checkpoint, found a folder of [23]: .*x.nemo.*\nhint: name one of them", "inspect", "nemo_experiments")

    def test_the_class_of_weights_whose_config_is_given(self):
        llama = GOLDEN / "decoders" / "llama" / "hf"
        self.ok("convert", llama, "w.safetensors")
        given = ("--hparams", llama / "config.json", "--architecture", "LlamaForCausalLM")
        self.ok("convert", "w.safetensors", "x.nemo", *given)
        self.fails(64, "architecture: expected a conversion from or to Hugging Face", "convert", "w.safetensors", "x", "--to", "hf", *given)

    def test_nemo_has_adapters_of_decoders(self):
        """The base has a config: one of a CLIP."""
        (self.dir / "lora").mkdir()
        (self.dir / "lora" / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}))
        name = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_"
        header = json.dumps({f"{name}{c}.weight": {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 256]}
                             for c, shape, at in (("A", [1, 64], 0), ("B", [64, 1], 256))}).encode()
        (self.dir / "lora" / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(512))
        self.fails(65, "expected a decoder as the model that is adapted, found another .*\nhint: use --lora FOLDER", "convert", "lora", "x.nemo",
                   "--base", CLIP / "hf")

    def test_the_folder_of_an_openclip_training(self):
        (self.dir / "run" / "checkpoints").mkdir(parents=True)
        (self.dir / "run" / "params.txt").write_text("model: tiny\n")
        for name in ("epoch_1.pt", "epoch_2.pt", "epoch_latest.pt"):
            shutil.copy(GOLDEN / "openclip" / "epoch_3.pt", self.dir / "run" / "checkpoints" / name)
        self.fails(65, "found a folder of 3: run/checkpoints/epoch_1.pt.*\nhint: name one of them: run/checkpoints/epoch_latest.pt",
                   "inspect", "run")

    def test_what_is_no_checkpoint_says_what_it_is(self):
        """And the way out: boxes of checkpoints, answers of servers, exports, shards of several models."""
        for name, content in (("hf.zip", "config.json"), ("x.npz", "a.npy")):
            with zipfile.ZipFile(self.dir / name, "w") as box:
                box.writestr(content, "{}")
        with tarfile.open(self.dir / "hf.tar", "w") as box:
            box.add(CLIP / "hf" / "config.json", "hf/config.json")
        for name, content in (("answer.nemo", '{"error": "Repository not found"}'), ("said.nemo", "Invalid username or password."),
                              ("a.json", "{}"), ("saved/saved_model.pb", "\x08"), ("shards/config.json", "{}"),
                              ("shards/model.safetensors.index.json", '{"weight_map": {"a": "b.safetensors"}}')):
            (self.dir / name).parent.mkdir(exist_ok=True)
            (self.dir / name).write_text(content)
        shutil.copy(CLIP / "hf" / "model.safetensors", self.dir / "shards" / "b.safetensors")
        for path, what in (("hf.zip", "unpack it and give what it holds"), ("x.npz", "numpy's .npz"),
                           ("hf.tar", "unpack the tar of another checkpoint"), ("answer.nemo", "the download fetched something else"),
                           ("a.json", "a JSON text, not a checkpoint\nhint: give the folder it lies in"),
                           ("said.nemo", 'said.nemo: a text, not a checkpoint: "Invalid username or password."'),
                           ("saved", "saved_model.pb .TensorFlow's.\nhint: an export of the model"),
                           ("shards", 'holds "a", it does not\nhint: a file of another model or revision')):
            with self.subTest(path):
                self.fails(65, what, "convert", path, "x.nemo")
        self.fails(64, "--tp: expected a number of at least 1, found 0", "convert", CLIP / "hf", "x.nemo", "--tp", "0")
        self.fails(64, "found a folder\nhint: a folder is unpacked already", "extract", CLIP / "hf", "x")
        shutil.copytree(CLIP / "hf", self.dir / "hf")
        self.fails(65, "none\nhint: a .nemo is edited", "edit", "hf", "--set", "a=1")

    def test_a_model_folder_with_weights_of_another_name(self):
        shutil.copytree(CLIP / "hf", self.dir / "model")
        (self.dir / "model" / "model.safetensors").rename(self.dir / "model" / "clip_l.safetensors")
        done = self.run_program("convert", "model", "x.nemo")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the only checkpoint in model is model/clip_l.safetensors", done.stderr)
        self.assertIn("config from model/config.json", done.stderr)
        self.assertIn("anemone convert model OUT.nemo", self.ok("inspect", "model"))
        shutil.copy(self.dir / "model" / "clip_l.safetensors", self.dir / "model" / "b.safetensors")
        self.fails(65, "found a folder of 2: model/b.safetensors, model/clip_l.safetensors\nhint: name one", "inspect", "model")

    def test_a_model_folder_needs_a_config(self):
        self.ok("convert", CLIP / "hf", "model.pt", "--to", "pytorch")
        self.fails(66, "expected a config of the model, by which a Hugging Face folder .* is loaded, found none\nhint: OUT.safetensors",
                   "convert", "model.pt", "out", "--to", "hf")
        self.ok("convert", "model.pt", "out", "--to", "hf", "--hparams", CLIP / "hf" / "config.json")
        self.assertTrue((self.dir / "out" / "config.json").exists())
        self.ok("convert", "model.pt", "weights", "--to", "hf", "--no-strict")

    def test_force_replaces_no_file_that_a_model_is_read_with(self):
        shutil.copytree(CLIP / "hf", self.dir / "model")
        shutil.copy(CLIP / "hparams.yaml", self.dir)
        (self.dir / "model" / "spiece.model").write_bytes(b"\0")
        for name, words in (("model/config.json", "found a text"), ("hparams.yaml", "found a text"), ("model/spiece.model", "belongs to a model")):
            before = (self.dir / name).read_bytes()
            self.fails(73, f"{name}: expected a checkpoint to replace, .*{words}", "convert", "model", name, "--to", "pytorch", "--force")
            self.assertEqual((self.dir / name).read_bytes(), before)
        # What was written under such a name may be written again.
        for force in ((), ("--force",)):
            self.ok("convert", "model", "weights.txt", "--to", "pytorch", *force)

    def test_hparams_of_other_names(self):
        self.fails(64, "--hparams: expected NeMo's model config, as the weights have NeMo's names", "convert", CLIP / "mcore.nemo", "x.nemo",
                   "--hparams", CLIP / "hf" / "config.json")

    def test_a_folder_of_accelerate_under_fsdp(self):
        self.ok("convert", CLIP / "hf", "model", "--to", "torch_dist")
        folder = self.dir / "checkpoint-5"
        folder.mkdir()
        shutil.copytree(self.dir / "model", folder / "pytorch_model_fsdp_0")
        shutil.copytree(self.dir / "model", folder / "optimizer_0")
        done = self.run_program("inspect", "checkpoint-5")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("the only checkpoint in checkpoint-5 is checkpoint-5/pytorch_model_fsdp_0", done.stderr)

    def test_a_module_that_holds_two_models(self):
        self.ok("convert", CLIP / "hf", "model.safetensors", "--to", "safetensors", "--only", "weights")
        bytes_of = (self.dir / "model.safetensors").read_bytes()
        size = int.from_bytes(bytes_of[:8], "little")
        header = json.loads(bytes_of[8 : 8 + size])
        header.pop("__metadata__", None)
        both = {before + name: value for before in ("teacher.", "student.") for name, value in header.items()}
        # Two names may share bytes in no safetensors file: the second model's come again.
        length = len(bytes_of) - 8 - size
        for name, value in both.items():
            if name.startswith("student."):
                both[name] = dict(value, data_offsets=[at + length for at in value["data_offsets"]])
        text = json.dumps(both).encode()
        (self.dir / "two.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + 2 * bytes_of[8 + size :])
        self.ok("convert", "two.safetensors", "two.pt", "--no-strict")
        done = self.run_program("inspect", "two.pt")
        self.assertRegex(done.stderr, r'several models, by how names begin: "student." \(\d+ tensors\), "teacher." ')
        hparams = ("--hparams", CLIP / "hf" / "config.json")
        self.fails(65, "found names such as .*\nhint: several models, by how names begin: \"student.\"", "convert", "two.pt", "x.nemo", *hparams)
        # Every command says so, none takes one of them for the model, and what inspect proposes works.
        several = r'several models, by how names begin: "student." \(\d+ tensors\), "teacher." \(\d+ tensors\)'
        self.assertRegex(self.ok("verify", "two.pt"), several)
        for words in (["infer", "two.pt", "--image", CLIP / "test.jpg", "--text", "a"], ["reshard", "two.pt", "x", "--to", "ckpt", "--tp", "2"]):
            self.fails(65, several, *words)
        for words in (["average", "two.pt", "two.pt", "mean.pt"], ["convert", "two.pt", "same.pt"]):
            self.assertRegex(self.run_program(*words).stderr, several)
            self.ok("diff", "two.pt", words[-1])
        for name in ("two.pt", "two.safetensors"):
            for step in json.loads(self.ok("inspect", "--json", name))["next"]:
                self.ok(*step.replace("OUT", f"next-{name}").split()[1:])
                self.ok("diff", "two.pt", f"next-{name}.safetensors")
        # One of which most tensors are is no more the model than the other.
        self.ok("convert", "two.pt", "more.safetensors", "--drop", "student.text_model.*")
        self.ok("convert", "more.safetensors", "more.pt")
        self.ok("convert", "two.pt", "x.nemo", "--key", "teacher", *hparams)
        self.ok("diff", "x.nemo", CLIP / "hf", "--canonical", "--weights")


class Differences(ProgramCase):
    def test_summary_and_hints(self):
        done = self.run_program("diff", CLIP / "hf", CLIP / "mcore.nemo")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--canonical compares the models", done.stderr)
        self.assertIn("more (-v lists all)", done.stdout)
        self.assertLess(len(re.findall(r"(?m)^tensor", done.stdout)), 25)
        self.assertGreater(len(re.findall(r"(?m)^tensor", self.run_program("diff", CLIP / "hf", CLIP / "mcore.nemo", "-v").stdout)), 100)
        done = self.run_program("diff", CLIP / "mcore.nemo", GOLDEN / "gpt" / "A.nemo")
        self.assertIn("these are different models: clip and gpt", done.stderr)
        self.assertEqual([line for line in done.stdout.splitlines() if len(line) > 120 or line.endswith(" ")], [])
        self.ok("convert", CLIP / "mcore.nemo", "half.nemo", "--dtype", "bf16")
        done = self.run_program("diff", CLIP / "mcore.nemo", "half.nemo", "--stat")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"^74 of 74 tensors that both have differ: 74 dtype; largest \|a-b\| \S+ in model\.\S+\n")
        self.assertRegex(self.ok("diff", CLIP / "mcore.nemo", CLIP / "mcore.nemo", "--stat"), r"^equal: 74 tensors\n$")


    def test_one_is_not_counted_as_many(self):
        self.ok("convert", DEMO, "a.nemo")
        self.ok("convert", "a.nemo", "b.nemo", "--set", "optim.lr=7")
        said = self.run_program("diff", "--stat", "a.nemo", "b.nemo").stdout
        self.assertRegex(said, r"(?m)^1 config value differs$")
        said = self.run_program("diff", CLIP / "mcore.nemo", CLIP / "mcore_bf16_O2.nemo").stdout
        self.assertRegex(said, r"fp32 → bf16; 1 element, ")
        self.assertRegex(said, r"fp32 → bf16; 64 elements, ")


class Tensors(ProgramCase):
    def test_cat(self):
        source, name = CLIP / "mcore.nemo", "model.vision_encoder.head.weight"
        summary = self.ok("cat", source, name, "--summary")
        self.assertRegex(summary, r"(?m)^dtype +fp32\nshape +\[32, 64\]\n")
        npy = subprocess.run([PROGRAM, "cat", source, name], capture_output=True, check=True, timeout=60).stdout
        start = 10 + int.from_bytes(npy[8:10], "little")
        self.assertEqual((npy[:8], start % 64, len(npy) - start), (b"\x93NUMPY\x01\0", 0, 32 * 64 * 4))
        self.assertEqual(eval(npy[10:start]), {"descr": "<f4", "fortran_order": False, "shape": (32, 64)})
        raw = subprocess.run([PROGRAM, "cat", source, name, "--raw"], capture_output=True, check=True, timeout=60).stdout
        self.assertEqual(raw, npy[start:])
        # The ranks' parts, merged.
        split = subprocess.run([PROGRAM, "cat", CLIP / "mcore_tp2.nemo", name, "--raw"], capture_output=True, check=True, timeout=60).stdout
        self.assertEqual(split, raw)
        self.fails(64, "--rank: expected one of tp0 pp0, tp1 pp0, found 'tp5 pp0'", "cat", CLIP / "mcore_tp2.nemo", name, "--rank", "tp5 pp0")
        self.ok("convert", source, "half.nemo", "--dtype", "bf16")
        done = subprocess.run([PROGRAM, "cat", "half.nemo", name], cwd=self.dir, capture_output=True, check=True, timeout=60)
        self.assertIn(b"'<f4'", done.stdout)
        self.assertIn(b"note: bf16 is written as fp32", done.stderr)
        self.fails(66, "did you mean model.logit_scale", "cat", source, "model.logitscale")

    def test_select_drop_rename(self):
        source = CLIP / "mcore.nemo"
        words = ("--select", "model.vision*", "--select", "model.logit_scale", "--drop", "*.bias", "--rename", "model.*=*")
        done = self.run_program("convert", source, "v.safetensors", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        names = {t["name"] for t in json.loads(self.ok("inspect", "v.safetensors", "--tensors", "--json"))["tensors"]}
        theirs = {t["name"] for t in json.loads(self.ok("inspect", source, "--tensors", "--json"))["tensors"] if t["dtype"] != "opaque"}
        expected = {n.removeprefix("model.") for n in theirs if n.startswith(("model.vision", "model.logit")) and not n.endswith(".bias")}
        self.assertIn("logit_scale", expected)
        self.assertEqual({n.removeprefix("model.") for n in names} - {n for n in names if n.endswith("_extra_state")}, expected)
        self.assertIn(f"{len(expected)} of {len(theirs)} tensors are written", done.stderr)
        self.fails(65, "expected all of its tensors\nhint: a safetensors file needs no config; use --no-strict to write it all the same", "convert", source, "x.nemo", "--drop", "*.bias")
        self.ok("convert", source, "x.nemo", "--drop", "*.bias", "--no-strict")
        self.fails(66, "no tensor is left", "convert", source, "y.safetensors", "--select", "nothing")
        self.fails(64, "as many \\* in the new name", "convert", source, "y.safetensors", "--rename", "model.*=x")
        self.fails(65, "--rename", "convert", source, "y.safetensors", "--rename", "model.vision_encoder.ln_pre.weight=x", "--rename",
                   "model.vision_encoder.ln_pre.bias=x")
        self.fails(64, "at most 4", "convert", source, "y.safetensors", "--drop", "*a*a*a*a*a*")

    def test_what_is_written_and_decided(self):
        self.assertRegex(self.ok("convert", CLIP / "hf", "x.nemo", "--tp", 2),
                         r"^wrote x.nemo \(NeMo archive, \d+ tensors, fp32, TP 2 × PP 1, [\d.]+ MB in \d")
        told = self.run_program("convert", "x.nemo", "out", "--to", "hf", "-v").stderr
        self.assertRegex(told, r"note: source: clip, names of mcore, NeMo archive, \d+ tensors, fp32, TP 2 × PP 1\n")
        self.assertRegex(told, r"note: result: clip, names of hf, Hugging Face folder, \d+ tensors, fp32\n")
        self.assertRegex(told, r"note: reads .* writes .* of memory\n")


class Editing(ProgramCase):
    def config(self, path):
        """As NeMo reads it: unpacked by Python's tarfile, where the last of a name wins."""
        with tarfile.open(path) as tar:
            return tar.extractfile(tar.getmember("./model_config.yaml")).read().decode()

    def test_in_place_in_constant_time(self):
        path = self.dir / "x.nemo"
        shutil.copy(CLIP / "mcore.nemo", path)
        before, size = path.stat().st_ino, path.stat().st_size
        told = self.ok("edit", path, "--set", "optim.lr=0.25")
        self.assertRegex(told, r"\(in place, [\d.]+ kB in")
        self.assertEqual(path.stat().st_ino, before)
        self.assertIn("lr: 0.25\n", self.config(path))
        self.assertEqual(self.ok("inspect", path, "--config", "optim.lr"), "0.25\n")
        self.ok("verify", path)
        self.assertIn("equal", self.ok("diff", path, CLIP / "mcore.nemo", "--weights"))
        # Many edits do not pile up: what is replaced is left behind now and then.
        for i in range(120):
            self.ok("edit", path, "--set", f"optim.lr={i}", "-q")
        self.assertIn("lr: 119\n", self.config(path))
        self.assertLess(path.stat().st_size, size + (3 << 20))
        self.assertEqual(sorted(self.dir.iterdir()), [path])

    def test_what_cannot_be_done_in_place_is_written_anew(self):
        path = self.dir / "x.nemo"
        shutil.copy(CLIP / "mcore.nemo", path)
        os.link(path, self.dir / "other.nemo")
        self.ok("edit", path, "--set", "optim.lr=0.5")
        self.assertEqual(self.ok("inspect", path, "--config", "optim.lr"), "0.5\n")
        self.assertEqual((self.dir / "other.nemo").read_bytes(), (CLIP / "mcore.nemo").read_bytes())
        (self.dir / "gz.nemo").write_bytes(gzip.compress(path.read_bytes(), 1))
        self.ok("edit", "gz.nemo", "--set", "optim.lr=0.75")
        self.assertEqual(self.ok("inspect", "gz.nemo", "--config", "optim.lr"), "0.75\n")
        self.ok("extract", path, "folder")
        self.ok("edit", "folder", "--set", "optim.lr=2")
        self.assertEqual(self.ok("inspect", "folder", "--config", "optim.lr"), "2\n")

    def test_new_keys_and_shapes(self):
        path = self.dir / "x.nemo"
        shutil.copy(CLIP / "mcore.nemo", path)
        done = self.run_program("edit", path, "--set", "optm.lr=1")
        self.assertIn("note: optm.lr is a new key: did you mean optim.lr?", done.stderr)
        done = self.run_program("edit", path, "--set", "+brand.new=1")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        before = path.read_bytes()
        for wrong in ("vision.hidden_size=abc", "vision.num_layers=5", "text.hidden_size=64"):
            self.fails(65, "the weights do not fit the new config: .*\nhint: .*--no-strict", "edit", path, "--set", wrong)
            self.assertEqual(path.read_bytes(), before)
        self.ok("edit", path, "--set", "vision.num_layers=5", "--no-strict")
        self.ok("edit", path, "--set", "vision.num_layers=3")  # what did not fit may be mended


    def test_several_edits_are_noted_once(self):
        self.ok("convert", DEMO, "x.nemo")
        for rate in (1, 2, 3):
            self.ok("edit", "x.nemo", "--set", f"optim.lr={rate}")
        said = self.run_program("inspect", "-v", "x.nemo")
        self.assertLessEqual((said.stdout + said.stderr).count("more than once"), 1)


class Inferring(ProgramCase):
    WORDS = ("--text", "a bag", "a coat", "a dress")

    def test_table_and_line(self):
        images = sorted((DEMO / "images").iterdir())[:2]
        line = self.ok("infer", DEMO, "--image", images[0], *self.WORDS)
        self.assertTrue(line.startswith("Given image's CLIP text probability:  [('a bag', "), line)
        table = self.ok("infer", DEMO, "--image", *images, *self.WORDS, "--top", 2)
        blocks = re.split(r"(?m)^(?=/)", table)[1:]
        self.assertEqual(len(blocks), 2)
        for block, image in zip(blocks, images, strict=True):
            lines = block.splitlines()
            self.assertEqual((lines[0], lines[3]), (str(image), "  … 1 more"))
            percents = [float(line.split()[0]) for line in lines[1:3]]
            self.assertGreaterEqual(percents[0], percents[1])
        def on_terminal(*words):
            command = " ".join(f"'{w}'" for w in (PROGRAM, "infer", DEMO, "--image", images[0], *self.WORDS, *words))
            return subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=60).stdout
        if shutil.which("script"):
            self.assertRegex(on_terminal(), r"(?m)^ +[\d.]+ %  a \w+")
            self.assertIn("Given image's", on_terminal("--nemo"))
        self.fails(64, "--top", "infer", DEMO, "--image", images[0], *self.WORDS, "--top", 2, "--json")
        rows = list(csv.reader(io.StringIO(self.ok("infer", DEMO, "--image", *images, "--text", "a bag, or two", 'a "coat"', "--csv"))))
        self.assertEqual(rows[0], ["image", "a bag, or two", 'a "coat"'])
        self.assertEqual([row[0] for row in rows[1:]], [str(image) for image in images])
        for row in rows[1:]:
            self.assertAlmostEqual(sum(map(float, row[1:])), 1, places=5)
        self.fails(64, "--csv", "infer", DEMO, "--image", images[0], *self.WORDS, "--csv", "--json")
        self.fails(64, "--csv: expected --image and --text", "infer", DEMO, "--csv", "--text", "a", "--embeddings", "x.npy")
        self.fails(64, "--top: expected --image and --text", "infer", DEMO, "--top", 2, "--text", "a", "--embeddings", "x.npy")

    def test_a_broken_picture_is_a_warning(self):
        folder = self.dir / "pictures"
        folder.mkdir()
        for image in sorted((DEMO / "images").iterdir())[:2]:
            shutil.copy(image, folder)
        (folder / "cut.jpg").write_bytes(next((DEMO / "images").glob("*.jpg")).read_bytes()[:200])
        done = self.run_program("infer", DEMO, "--image", folder, *self.WORDS)
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (1, 2))
        self.assertIn("warning: ", done.stderr)


class ManyValues(ProgramCase):
    def test_images_and_texts(self):
        images = sorted((DEMO / "images").iterdir())[:3]
        once = self.ok("infer", DEMO, "--image", *images, "--text", "a bag", "a coat")
        again = self.ok("infer", DEMO, *(w for i in images for w in ("--image", i)), "--text", "a bag", "--text", "a coat")
        self.assertEqual(once, again)
        self.assertEqual(len(once.splitlines()), 3)
        self.assertEqual(self.ok("infer", "--image", images[0], "--text", "a bag", "a coat", DEMO).count("a coat"), 1)

    def test_paths(self):
        good, broken = CLIP / "mcore.nemo", CLIP / "broken_mcore_tp2_left_unsplit.nemo"
        text = self.ok("inspect", good, CLIP / "hf")
        self.assertEqual(re.findall(r"(?m)^path +(\S+)", text), [str(good), str(CLIP / "hf")])
        self.assertEqual([c["path"] for c in json.loads(self.ok("inspect", good, CLIP / "hf", "--json"))], [str(good), str(CLIP / "hf")])
        done = self.run_program("verify", good, broken)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, rf"{good}: ok: 99 tensors.*\n(.*\n)*{broken}: 1 problem\n$")
        # An error is worse than an answer of no, and the others are still asked.
        done = self.run_program("verify", "nope.nemo", broken, "--json")
        self.assertEqual(done.returncode, 66)
        answers = json.loads(done.stdout)
        self.assertEqual((answers[0]["path"], answers[1]["ok"]), ("nope.nemo", False))
        self.assertIn("No such file", answers[0]["error"])
        (self.dir / "evil.pkl").write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
        done = self.run_program("scan", good, "evil.pkl")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, rf"{good}: inert: (.*\n)*evil.pkl: NOT inert: 1 of 1 findings\n")
        self.assertIn("torch.load(weights_only=True) refuses it: _io BytesIO in ", self.ok("scan", good))  # Transformer Engine's states
        self.ok("convert", good, "x.pt", "--extra-state", "drop")
        self.assertTrue(self.ok("scan", "x.pt").endswith("torch.load(weights_only=True) loads it\n"))
        # A file of several, and an archive of torch.package, whose pickles torch.load does not read.
        with zipfile.ZipFile(self.dir / "x.pt") as torchs, zipfile.ZipFile(self.dir / "package.pt", "w") as package, zipfile.ZipFile(self.dir / "outer.zip", "w") as outer:
            for name in torchs.namelist():
                package.writestr(name.replace("data.pkl", "model/model.pkl"), torchs.read(name))
            outer.write(self.dir / "x.pt", "inner/x.pt")
        self.assertNotIn("torch.load", self.ok("scan", "package.pt"))
        self.assertTrue(self.ok("scan", "outer.zip").endswith("torch.load(weights_only=True) loads outer.zip/inner/x.pt\n"))
        answers = [json.loads(self.ok("scan", path, "--json"))["weights_only"] for path in ("x.pt", good, DEMO, "package.pt")]
        self.assertEqual(answers, [True, False, None, None])
        self.fails(64, "expected a hub id, org/name, found 'nope'", "fetch", "nope")


class Reports(ProgramCase):
    def test_the_page_is_named_by_its_source(self):
        shutil.copy(CLIP / "mcore.nemo", self.dir / "my.clip.nemo")
        self.assertEqual(self.ok("report", "my.clip.nemo"), "wrote my.clip.html\n")
        self.fails(73, "my.clip.html: already exists", "report", "my.clip.nemo")
        self.assertEqual(self.ok("report", "my.clip.nemo", DEMO), "wrote my.clip-demo-clip.html\n")

    def test_open(self):
        (self.dir / "bin").mkdir()
        tool = self.dir / "bin" / "xdg-open"
        tool.write_text(f"#!/bin/sh\necho \"$1\" > {self.dir}/opened\n")
        tool.chmod(0o755)
        self.ok("report", CLIP / "mcore.nemo", "-o", "x.html", "--open", env={"PATH": f"{tool.parent}:{os.environ['PATH']}"})
        for _ in range(1200):
            if (self.dir / "opened").exists() and (self.dir / "opened").read_text():
                break
            time.sleep(0.05)
        self.assertEqual((self.dir / "opened").read_text(), f"{self.dir}/x.html\n")
        done = self.run_program("report", CLIP / "mcore.nemo", "-o", "y.html", "--open", env={"PATH": "/nonexistent"})
        self.assertEqual(done.returncode, 69)
        self.assertIn("--open", done.stderr)


class Vocabularies(ProgramCase):
    def notes(self, *words):
        done = self.run_program("reshard", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [line for line in done.stderr.splitlines() if "vocabulary" in line or "rows" in line]

    def test_one_line_with_the_net_change(self):
        t5 = GOLDEN / "t5" / "t5_tp2pp2.nemo"
        self.assertEqual(self.notes(t5, "a.nemo", "--tp", 2), [])
        self.assertEqual(self.notes(t5, "b.nemo", "--tp", 1), ["anemone: note: vocabulary: 288 → 272 rows, padded to a multiple of 16 × TP 1"])
        gpt = self.notes(GOLDEN / "gpt" / "A_tp2pp2.nemo", "c.nemo", "--tp", 4)
        self.assertEqual(len(gpt), 1, gpt)
        self.assertRegex(gpt[0], r"^anemone: note: vocabulary: 1020 → 1040 rows, padded to a multiple of 10 × TP 4$")


class Destinations(ProgramCase):
    def test_the_name_decides(self):
        """Row by row what `anemone help convert` says."""
        source = CLIP / "mcore.nemo"
        for name, flavour in (("x.nemo", "nemo"), ("y.nemo/", "nemo-dir"), ("x.ckpt", "lightning"), ("x.safetensors", "safetensors"),
                              ("x.pt", "pytorch"), ("x.bin", "pytorch"), ("x.pth", "pytorch")):
            self.assertIn(name.split(".")[1].rstrip("/"), self.ok("help", "convert"))
            self.ok("convert", source, name, "--only", "weights")
            self.assertEqual(json.loads(self.ok("inspect", name, "--json"))["format"], flavour, name)
        self.ok("convert", source, "named", "--to", "hf")
        for _ in range(2):
            self.fails(64, "cannot tell the format", "convert", CLIP / "hf", "none")
            self.fails(64, "cannot tell the format", "convert", "named", "none/")
            self.fails(64, "cannot tell the format", "convert", source, "x.gguf")
        for name, what in (("x.gguf", "GGUF"), ("x.onnx", "ONNX"), ("x.npz", "NumPy")):
            self.fails(64, f"{name}: cannot tell the format to write from this name: {what} is not written\nhint: use --to", "convert", source, name)
        self.fails(64, "expected the name of a file", "convert", source, "z.safetensors/")
        self.fails(64, "expected the name of a file", "pack", "y.nemo", "z.nemo/")
        (self.dir / "empty").mkdir()
        self.ok("convert", source, "empty", "--to", "hf")
        self.fails(73, "already exists", "convert", source, "empty", "--to", "hf")

    def test_a_dash_is_no_file(self):
        source = CLIP / "mcore.nemo"
        shutil.copytree(CLIP / "hf", self.dir / "hf")
        self.ok("extract", source, "folder")
        for words in (("convert", source, "-", "--to", "nemo"), ("pack", "folder", "-"), ("extract", source, "-"),
                      ("reshard", source, "-", "--tp", "2", "--to", "nemo"), ("edit", source, "--set", "a=1", "-o", "-"),
                      ("average", source, source, "-", "--to", "nemo"), ("report", source, "-o", "-"),
                      ("infer", DEMO, "--text", "a", "--embeddings", "-")):
            self.fails(64, "-: expected the name of a file|safetensors or .npy", *words)


unittest.main(argv=sys.argv[:1])
