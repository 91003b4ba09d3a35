"""NeMo's scripts take every flag that NeMo's own take, and say in their own words what is missing.

usage: flags.py ANEMONE GOLDEN_DIR      (unittest's arguments may follow)
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])

LAUNCH = "--gpus_per_node=1 --pipeline_model_parallel_split_rank=0 --local_rank=0"
LAYOUT = "--tensor_model_parallel_size=1 --pipeline_model_parallel_size=1"
RUN = "--checkpoint_folder=absent --checkpoint_name=run.ckpt --hparams_file=absent.yaml"
# Every flag that a script's ArgumentParser declares, in v1.23.0 or v2.0.0 [NVIDIA/NeMo scripts/checkpoint_converters,
# examples/multimodal, examples/vision, examples/nlp/language_modeling]. All name sources that are not there.
COMMANDS = {
    "convert_clip_hf_to_nemo": f"--input_name_or_path=./absent --hparams_file=absent.yaml --output_path=x.nemo {LAYOUT} {LAUNCH}",
    "convert_external_clip_to_nemo":
        f"--arch=./absent --version=huggingface --hparams_file=absent.yaml --nemo_file_path=x.nemo {LAYOUT} {LAUNCH} --bcp",
    "convert_siglip_hf_to_nemo":
        "--input_name_or_path=./absent --tokenizer_path=absent.model --hparams_file=absent.yaml --output_path=x.nemo --precision=bf16",
    "convert_ckpt_to_nemo": f"{RUN} --nemo_file_path=x.nemo {LAYOUT} {LAUNCH} --model_type=megatron_clip --bcp",
    "megatron_ckpt_to_nemo":
        f"{RUN} --nemo_file_path=x.nemo {LAYOUT} {LAUNCH} --no_pack_nemo_file --model_type=gpt --bcp --precision=16-mixed",
    "convert_zarr_to_torch_dist":
        f"{RUN} --path_to_save=x {LAYOUT} {LAUNCH} --save_to_nemo --cluster_type=BCP --precision=bf16-mixed --model_type=gpt",
    "convert_nemo1_to_nemo2":
        "--input_path=absent.nemo --output_path=x --model_id=meta-llama/Llama-2-7b-hf --tokenizer_path=absent.model"
        " --tokenizer_library=sentencepiece",
    "hf_t5-v1_1_to_nemo":
        "--hf_model_name=./absent --nemo_state_dict_path=absent.pt --nemo_file_path=x.nemo --base_yaml_config=absent.yaml",
    "merge":
        "gpt_model_file=absent.nemo lora_model_path=absent.nemo merged_model_path=x.nemo tensor_model_parallel_size=-1"
        " pipeline_model_parallel_size=1 pipeline_model_parallel_split_rank=-1 checkpoint_dir=null checkpoint_name=null"
        " hparams_file=null trainer.devices=1 trainer.num_nodes=1 trainer.accelerator=cpu trainer.precision=bf16",
    "megatron_change_num_partitions":
        "--model_file=absent.nemo --target_file=x.nemo --tensor_model_parallel_size=1 --target_tensor_model_parallel_size=1"
        " --pipeline_model_parallel_size=1 --target_pipeline_model_parallel_size=1 --target_pipeline_model_parallel_split_rank=0"
        " --virtual_pipeline_model_parallel_size=1 --ckpt_name=run.ckpt --model_class=a.b.C --precision=16 --num_gpu_per_node=8"
        " --megatron_legacy --tokenizer_model_path=absent.model --tokenizer_vocab_file=absent.txt --hparams_file=absent.yaml"
        " --tp_conversion_only --model_extracted_dir=absent",
    "megatron_clip_infer":
        "model.restore_from_path=absent.nemo image_path=a.jpg texts=[a] trainer.devices=1 trainer.num_nodes=1 trainer.accelerator=gpu"
        " trainer.logger=False trainer.precision=16 model.precision=bf16 hydra.run.dir=. +hydra.job.name=x",
    "megatron_clip_imagenet_zeroshot":
        "model.restore_from_path=absent.nemo model.data.imagenet_val=absent model.data.num_workers=1 model.micro_batch_size=1"
        " model.global_batch_size=1 model.precision=bf16 trainer.devices=1 trainer.num_nodes=1 trainer.accelerator=cpu"
        " trainer.logger=False trainer.precision=32",
    **{f"convert_{model}_{way}": f"--input_name_or_path=./absent --output_path={out} {words}" for model, way, out, words in [
        ("baichuan2", "hf_to_nemo", "x.nemo", "--hparams_file=absent.yaml --precision=32"),
        ("baichuan2", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --precision=32 --cpu-only"),
        ("bert", "hf_to_nemo", "x.nemo", "--mcore=True --hparams_file=absent.yaml --post_process=True --precision=bf16"),
        ("bert", "nemo_to_hf", "x", ""),
        ("chatglm", "hf_to_nemo", "x.nemo", "--hparams_file=absent.yaml --precision=16"),
        ("chatglm", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --precision=bf16 --cpu-only"),
        ("falcon", "hf_to_nemo", "x.nemo", "--hparams_file=absent.yaml --precision=bf16 --cuda"),
        ("falcon", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --precision=32 --cpu-only"),
        ("gemma", "hf_to_nemo", "x.nemo", "--tokenizer_path=absent.model --hparams_file=absent.yaml --precision=32"),
        ("gemma", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --input_tokenizer=absent"
         " --hf_output_tokenizer=y --precision=32 --cpu-only"),
        ("gemma2", "hf_to_nemo", "x.nemo", "--tokenizer_path=absent.model --hparams_file=absent.yaml --precision=bf16"
         " --run_verification --cpu"),
        ("gpt", "nemo_to_mcore", "x.nemo", "--cpu_only --overwrite --ignore_if_missing=rotary_pos_emb.inv_freq,other"),
        ("griffin", "hf_to_nemo", "x.nemo", "--hparams_file=absent.yaml --precision=32"),
        ("griffin", "nemo_to_hf", "x", ""),
        ("llama", "hf_to_nemo", "x.nemo", "--hparams_file=absent.yaml --llama31=True --precision=16"),
        ("llama", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --input_tokenizer=absent"
         " --hf_output_tokenizer=y --precision=32 --cpu-only"),
        ("llava", "hf_to_nemo", "x.nemo", "--tokenizer_path=absent.model --conv_template=v1 --hparams_file=absent.yaml"
         " --precision=bf16 --skip_verification"),
        ("llava", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --skip_verification"),
        ("llava", "to_neva", "x.nemo", ""),
        ("mistral_7b", "hf_to_nemo", "x.nemo", "--precision=bf16 --low-ram --low-mem --tmp-dir=absent"),
        ("mistral_7b", "nemo_to_hf", "x", "--hf_model_name=absent --precision=bf16"),
        ("mixtral", "hf_to_nemo", "x.nemo", "--precision=bf16 --low-ram --tmp-dir=absent --tokenizer_type=fast"
         " --tokenizer_path=absent"),
        ("mixtral", "nemo_to_hf", "x", "--hf_model_name=absent --precision=32"),
        ("mpt", "hf_to_nemo", ".", "--hparams_file=absent.yaml --cuda"),
        ("nemotron", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --precision=32 --cpu-only"),
        ("qwen2", "hf_to_nemo", "x.nemo", "--hparams_file=absent.yaml --precision=16"),
        ("qwen2", "nemo_to_hf", "x.bin", "--hf_input_path=absent --hf_output_path=x --input_tokenizer=absent"
         " --hf_output_tokenizer=y --precision=32 --cpu-only"),
        ("starcoder", "hf_to_nemo", ".", "--hparams_file=absent.yaml --precision=bf16 --cuda"),
        ("starcoder2", "hf_to_nemo", "x.nemo", "--precision=32"),
        ("starcoder2", "nemo_to_hf", "x", "--hf-model-name=absent --precision=32 --cpu-only"),
    ]},
    # Megatron-Bridge v0.3.1 examples/conversion/convert_checkpoints.py
    "convert_checkpoints": "import --hf-model=./absent --megatron-path=x --torch-dtype=bfloat16 --device-map=auto --trust-remote-code",
}
COMMANDS["convert_griffin_nemo_to_hf"] = "--input_path=./absent --output_path=x --hparams_file=absent.yaml --precision=bf16"
COMMANDS["convert_llava_to_neva"] = (
    "--in-file=./absent --out-file=x.nemo --conv-template=llama_2 --tokenizer-model=absent.model --precision=32"
    " --config-file=absent.yaml --mm-projector-ckpt-dir=absent --mm-vision-tower=openai/clip-vit-large-patch14 --model-type=llama")


def run(folder, script, *words):
    return subprocess.run([ANEMONE, "nemo", script, *words], capture_output=True, text=True, timeout=60, cwd=folder,
                          env={**os.environ, "HF_HUB_OFFLINE": "1"})


class Flags(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def test_all_scripts_are_here(self):
        said = subprocess.run([ANEMONE, "nemo", "--help"], capture_output=True, text=True).stdout
        self.assertEqual(re.findall(r"^  (merge|\w+_[\w-]+)\s", said.split("Commands:")[1], re.M), list(COMMANDS))

    def test_every_flag_is_taken(self):
        for script, words in COMMANDS.items():
            with self.subTest(script):
                said = run(self.dir, script, *words.split())
                self.assertEqual(said.returncode, 66, said.stderr)  # all that is wrong is that the source is absent
                self.assertIn("absent", said.stderr)
                self.assertEqual(os.listdir(self.dir), [])
                self.assertEqual(run(self.dir, script, *words.split(), "--no_such_flag=1").returncode, 64)

    def test_each_flag_of_nemos_parsers_is_declared(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "argparse.txt")) as file:
            lines = [line.split(": ", 1) for line in file if not line.startswith("#")]
        self.assertGreater(sum(len(flags.split()) for _, flags in lines), 290)
        for script, flags in lines:
            shown = run(self.dir, script, "--help")
            if script not in COMMANDS:
                self.assertEqual(shown.returncode, 64, script)
                self.assertRegex(shown.stderr, f"^anemone: nemo {script}: .*(not supported|not read|convert)")
                continue
            declared = re.findall(r"--[\w-]+", shown.stdout)
            for flag in flags.split():
                for name in flag.split("@")[0].split(","):
                    with self.subTest(f"{script} {name}"):
                        self.assertIn(name, declared)

    def test_a_config_of_ones_own_replaces_nemos(self):
        with open(os.path.join(self.dir, "mine.yaml"), "w") as file:
            file.write("model: {restore_from_path: absent.nemo}\nimage_path: a.jpg\ntexts: [a]\n")
        said = run(self.dir, "megatron_clip_infer", "--config-path=.", "--config-name=mine")
        self.assertEqual((said.returncode, said.stderr.splitlines()[0]), (66, "anemone: absent.nemo: no such file or folder"))
        for words in (["-cp", ".", "-cn", "mine"], ["-cp=.", "-cn=mine"]):
            self.assertEqual(run(self.dir, "megatron_clip_infer", *words).returncode, 66)
        shown = run(self.dir, "megatron_clip_infer", "-cp", ".", "-cn", "mine", "--cfg", "job", "image_path=b.jpg", "+x.z=1")
        self.assertEqual(shown.stdout, "model:\n  restore_from_path: absent.nemo\nimage_path: b.jpg\ntexts:\n- a\nx:\n  z: 1\n")
        self.assertIn("expected --config-path", run(self.dir, "megatron_clip_infer", "--config-name=mine").stderr)
        with open(os.path.join(self.dir, "mine.yaml"), "a") as file:
            file.write("defaults: [base]\n")
        self.assertIn("found a list of parts", run(self.dir, "megatron_clip_infer", "--config-path=.", "--config-name=mine").stderr)

    def test_a_script_may_be_named_by_its_path(self):
        words = COMMANDS["convert_llama_hf_to_nemo"].split()
        for path in ("convert_llama_hf_to_nemo.py", "/opt/NeMo/scripts/checkpoint_converters/convert_llama_hf_to_nemo.py"):
            self.assertEqual(run(self.dir, path, *words).returncode, 66)
        self.assertEqual(run(self.dir, "convert_none_hf_to_nemo.py", *words).returncode, 64)

    def test_dtypes_are_kept_and_it_is_said(self):
        for script, says in {"convert_llama_hf_to_nemo": "fp16 (--precision 16", "convert_mixtral_nemo_to_hf": "fp32 (--precision 32",
                             "convert_mistral_7b_hf_to_nemo": "bf16 (--precision bf16", "convert_mpt_hf_to_nemo": "bf16\n"}.items():
            said = run(self.dir, script, "--input_name_or_path=./absent", "--output_path=x")
            self.assertIn(f"dtypes are kept; NeMo's script would convert to {says}", said.stderr)
        for script in ("convert_llama_nemo_to_hf", "convert_gpt_nemo_to_mcore"):  # the model's own
            self.assertNotIn("dtypes", run(self.dir, script, "--input_name_or_path=./absent", "--output_path=x").stderr)
        said = run(self.dir, "convert_llama_hf_to_nemo", "--input_name_or_path=./absent", "--output_path=x", "--precision=8")
        self.assertEqual(said.returncode, 64)
        self.assertIn("--precision 8: expected 32, 16 or bf16", said.stderr)

    def test_words_of_nemo_run(self):
        def llm(*words):
            return run(self.dir, "llm", *words)
        self.assertEqual(llm("import", "model=llama3_8b", "source=hf://./absent", "output_path=x", "overwrite=true", "-y").returncode, 66)
        self.assertEqual(llm("export", "path=./absent", "target=hf", "output_path=x", "overwrite=False").returncode, 66)
        for words, says in [(["import", "model=llama3_8b"], "expected source=hf://MODEL"),
                            (["import", "model=none", "source=hf://x"], "model=none: expected one of NeMo's models"),
                            (["import", "source=hf://x", "sauce=y"], "expected KEY= of model, source, output_path, overwrite, found sauce="),
                            (["import", "source=hf://x", "overwrite=maybe"], "overwrite=maybe: expected true or false"),
                            (["export", "target=hf"], "expected path=FOLDER"),
                            (["export", "path=x", "target=onnx"], "target=onnx: expected hf")]:
            said = llm(*words)
            self.assertEqual(said.returncode, 64, words)
            self.assertIn(says, said.stderr)
        self.assertEqual(run(self.dir, "llm").returncode, 64)

    def test_converters_of_megatron(self):
        # core_v0.16.1 tools/checkpoint/convert.py, loader_llama_mistral.py, saver_core.py; Megatron-Bridge's export.
        tool = ("--model-type GPT --loader llama_mistral --saver core --load-dir ./absent --save-dir x --max-queue-size 9 --no-checking"
                " --model-size llama3 --checkpoint-type hf --bf16 --tokenizer-model absent --megatron-path absent --true-vocab-size 5"
                " --vocab-file absent --make-vocab-size-divisible-by 8 --loader-transformer-impl local --saver-transformer-impl local"
                " --target-tensor-parallel-size 2 --target-pipeline-parallel-size 2 --target-expert-parallel-size 1").split()
        for script, words in [("tools/checkpoint/convert.py", tool),
                              ("convert_checkpoints.py", "export --hf-model absent --megatron-path ./absent --hf-path x --no-progress"
                                                         " --not-strict".split())]:
            said = run(self.dir, script, *words)
            self.assertEqual(said.returncode, 66, said.stderr)
            self.assertIn("absent", said.stderr)
        for change, says in [(("--saver", "legacy"), "--saver legacy: expected core"), (("--checkpoint-type", "meta"), "expected hf"),
                             (("--model-type", "BERT"), "--model-type BERT: expected GPT"), (("--fp16",), "found both")]:
            words = list(tool)
            if change[0] in words:
                words[words.index(change[0]) + 1] = change[1]
            else:
                words += change
            said = run(self.dir, "convert", *words)
            self.assertIn(said.returncode, (64, 65), says)
            self.assertIn(says, said.stderr)
        said = run(self.dir, "convert_checkpoints", "import", "--hf-model=./absent", "--megatron-path=x", "--torch-dtype=int8")
        self.assertEqual(said.returncode, 64)

    # Megatron-Bridge v0.6.0 and 067f987 scripts/conversion/arguments.py: what import and export share, and what each has of its own.
    LAUNCHER = {"--executor": "local", "--device": "cpu", "--nodes": "1", "--gpus-per-node": "8", "--gpus_per_node": "8", "--mem": "0",
                "--account": "a", "--partition": "p", "--time": "01:00:00", "--gres": "gpu:8", "--exclusive": None,
                "--no-gpu-resource-request": None, "--container-image": "x.sqsh", "--mount": "/a:/b", "--env": "HF_TOKEN",
                "--srun-arg=--mpi=pmix": None, "--experiment-name": "e", "--submission-dry-run": None, "--dry-run": None, "--detach": None,
                "-tp": "2", "--tp": "2", "--tensor-parallel-size": "2", "-pp": "1", "--pp": "1", "--pipeline-parallel-size": "1",
                "-ep": "1", "--ep": "1", "--expert-parallel-size": "1", "-etp": "1", "--etp": "1", "--expert-tensor-parallel-size": "1",
                "--distributed-timeout-minutes": "9", "--hf-revision": "main", "--torch-dtype": "bfloat16", "--trust-remote-code": None,
                "--overwrite": None}
    OWN = {"import": {"--low-memory-save": None},
           "export": {"--no-progress": None, "--not-strict": None, "--distributed-save": None, "--no-distributed-save": None,
                      "--save-every-n-ranks": "2", "--export-weight-dtype": "float16"}}

    def test_flags_of_megatron_bridges_launcher_one_by_one(self):
        needed = {"import": ["--hf-model=./absent", "--megatron-path=x"],
                  "export": ["--hf-model=absent", "--megatron-path=./absent", "--hf-path=x"]}
        for command, words in needed.items():
            for flag, value in {**self.LAUNCHER, **self.OWN[command]}.items():
                with self.subTest(command=command, flag=flag):
                    said = run(self.dir, "scripts/conversion/convert.sh", command, *words, flag, *([value] if value else []))
                    self.assertEqual(said.returncode, 66, said.stderr)
                    self.assertIn("absent", said.stderr)
            for flags, says in [(["--executor=slurm"], "--executor slurm: expected local"), (["--torch-dtype=int8"], "--torch-dtype int8"),
                                (["--no-such-flag"], "no-such-flag")]:
                said = run(self.dir, "convert.sh", command, *words, *flags)
                self.assertIn(said.returncode, (64, 65))
                self.assertIn(says, said.stderr)
        said = run(self.dir, "convert.sh", "roundtrip", "--hf-model=x", "--ep", "8")
        self.assertIn("anemone diff", said.stderr)
        self.assertEqual(os.listdir(self.dir), [])

    def test_flags_of_megatron_bridges_launcher_that_say_what_is_written(self):
        source = f"{GOLDEN}/megatron/mb031-provider-llama/ckpt"
        export = ["export", f"--megatron-path={source}", "--hf-path=hf"]
        said = run(self.dir, "convert.sh", *export, "--dry-run")
        self.assertEqual((said.returncode, os.listdir(self.dir)), (0, []), said.stderr)
        self.assertEqual(run(self.dir, "convert.sh", *export, "--torch-dtype=bfloat16", "--export-weight-dtype=float16").returncode, 0)
        self.assertEqual(run(self.dir, "convert.sh", *export).returncode, 73)
        with open(os.path.join(self.dir, "hf/config.json")) as file:
            self.assertIn('"float16"', file.read())
        self.assertEqual(run(self.dir, "convert.sh", *export, "--overwrite").returncode, 0)
        said = run(self.dir, "convert.sh", "import", "--hf-model=hf", "--megatron-path=bridge", "-tp", "2")
        self.assertEqual(said.returncode, 0, said.stderr)
        with open(os.path.join(self.dir, "bridge/iter_0000000/run_config.yaml")) as file:
            self.assertIn("tensor_model_parallel_size: 2", file.read())

    def test_megatron_bridge_there_and_back(self):
        source = f"{GOLDEN}/megatron/mb031-provider-llama/ckpt"
        for script, words in [("convert_checkpoints", ["export", f"--megatron-path={source}", "--hf-path=hf"]),
                              ("convert_checkpoints", ["import", "--hf-model=hf", "--megatron-path=bridge"]),
                              ("convert", ["--model-type=GPT", "--loader=llama_mistral", "--load-dir=hf", "--save-dir=lm"])]:
            said = run(self.dir, script, *words)
            self.assertEqual(said.returncode, 0, said.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.dir, "bridge/iter_0000000/run_config.yaml")))
        for folder in ("bridge", "lm"):
            said = subprocess.run([ANEMONE, "diff", source, folder], capture_output=True, text=True, cwd=self.dir)
            self.assertIn("0 of 15 tensors that both have differ", said.stdout)

    def test_a_torch_file_and_a_folder_have_the_same_weights(self):
        for model in ("llama", "falcon", "chatglm"):
            out = os.path.join(self.dir, model)
            said = run(self.dir, f"convert_{model}_nemo_to_hf", f"--input_name_or_path={GOLDEN}/families/{model}.nemo",
                       f"--output_path={out}.bin", f"--hf_output_path={out}", f"--hf_output_tokenizer={out}-tokenizer")
            if model == "llama":
                self.assertEqual(sorted(os.listdir(f"{out}-tokenizer")),
                                 ["special_tokens_map.json", "tokenizer.model", "tokenizer_config.json"])
            else:
                self.assertIn("--hf_output_tokenizer", said.stderr)  # of theirs alone
                said = run(self.dir, f"convert_{model}_nemo_to_hf", f"--input_name_or_path={GOLDEN}/families/{model}.nemo",
                           f"--output_path={out}.bin", f"--hf_output_path={out}")
            self.assertEqual(said.returncode, 0, said.stderr)
            told = subprocess.run([ANEMONE, "diff", "--weights", f"{out}.bin", out], capture_output=True, text=True)
            self.assertEqual(told.returncode, 0, told.stdout + told.stderr)

    def test_another_tokenizer_replaces_one_that_is_only_named(self):
        given = os.path.join(self.dir, "given")
        os.mkdir(given)
        for name in ("merges.txt", "tokenizer_config.json", "vocab.json"):
            with open(os.path.join(given, name), "w") as file:
                file.write('{"a": 0}' if name == "vocab.json" else "{}")
        qwen = f"{GOLDEN}/families/qwen2.nemo"
        said = run(self.dir, "convert_qwen2_nemo_to_hf", f"--input_name_or_path={qwen}", "--output_path=q.bin", "--hf_output_path=q",
                   "--input_tokenizer=given")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertNotIn("tokenizer", said.stderr)
        for name in os.listdir(given):
            with open(os.path.join(given, name)) as theirs, open(os.path.join(self.dir, "q", name)) as ours:
                self.assertEqual(ours.read(), theirs.read(), name)
        said = run(self.dir, "convert_qwen2_nemo_to_hf", f"--input_name_or_path={qwen}", "--output_path=n.bin", "--hf_output_path=n")
        self.assertIn("without its merges; the option tokenizer", said.stderr)
        said = run(self.dir, "convert_qwen2_nemo_to_hf", f"--input_name_or_path={qwen}", "--hf_output_path=m", "--input_tokenizer=none")
        self.assertEqual(said.returncode, 66, said.stderr)

    def test_a_lora_is_merged_by_nemos_script(self):
        words = ["/opt/NeMo/scripts/nlp_language_modeling/merge_lora_weights/merge.py", f"lora_model_path={GOLDEN}/lora/nemo_fused.nemo",
                 "merged_model_path=x.nemo", "trainer.accelerator=cpu"]
        said = run(self.dir, *words, f"gpt_model_file={GOLDEN}/decoders/llama/hf")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertIn("merged a LoRA into 8 modules", said.stderr)
        self.assertIn("alpha / rank is applied", said.stderr)
        self.assertIn("expected lora_model_path=", run(self.dir, "merge", f"gpt_model_file={GOLDEN}/decoders/llama/hf").stderr)
        said = run(self.dir, "merge")
        self.assertRegex(said.stderr, "expected checkpoint_dir=.*\nhint: see: anemone nemo merge --help\n")

    def test_a_legacy_gpt_gets_mcores_names(self):
        said = run(self.dir, "convert_gpt_nemo_to_mcore", f"--input_name_or_path={GOLDEN}/gpt/A.nemo", "--output_path=x.nemo", "--cpu_only")
        self.assertEqual(said.returncode, 0, said.stderr)
        with tarfile.open(os.path.join(self.dir, "x.nemo")) as archive:
            config = archive.extractfile("./model_config.yaml").read().decode()
        self.assertIn("\nmcore_gpt: true\n", config)
        self.assertEqual(run(self.dir, "convert_gpt_nemo_to_mcore", f"--input_name_or_path={GOLDEN}/gpt/A.nemo",
                             "--output_path=x.nemo").returncode, 73)
        self.assertEqual(run(self.dir, "convert_gpt_nemo_to_mcore", f"--input_name_or_path={GOLDEN}/gpt/A.nemo",
                             "--output_path=x.nemo", "--overwrite").returncode, 0)

    def test_messages_name_the_scripts_own_flags(self):
        layout = ["--target_tensor_model_parallel_size=1", "--target_pipeline_model_parallel_size=2"]
        said = run(self.dir, "megatron_change_num_partitions", f"--model_file={GOLDEN}/t5/t5.nemo", "--target_file=x.nemo", *layout,
                   "--target_pipeline_model_parallel_split_rank=5")
        self.assertIn("--target_pipeline_model_parallel_split_rank: expected 1 to 1", said.stderr)
        with tarfile.open(f"{GOLDEN}/gpt/A.nemo") as archive:
            archive.extractall(self.dir, [m for m in archive if "spm" not in m.name])
        said = run(self.dir, "megatron_change_num_partitions", "--model_extracted_dir=.", "--target_file=x.nemo", *layout)
        self.assertRegex(said.stderr, r"hint: use anemone convert --artifact .*, or anemone convert --set .*$")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
