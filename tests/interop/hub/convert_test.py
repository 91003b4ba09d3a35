"""convert of a hub id, read in place from a hub that speaks the protocol, and from the cache that fetch fills; and what transformers finds there.

usage: convert_test.py ANEMONE GOLDEN_DIR
ANEMONE_TEST_PYTHON names a Python with transformers, where this machine's has none.
"""

import os
import pathlib
import pty
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "testing"))
from folder_case import FolderCase  # noqa: E402

ANEMONE, GOLDEN = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
NAME = "openai/clip-vit-large-patch14"
FROM_TRANSFORMERS = """
import sys
try:
    from transformers import CLIPModel, CLIPTokenizer
except ImportError:
    sys.exit(77)
from safetensors.torch import load_file
model = CLIPModel.from_pretrained(sys.argv[1])
expected = load_file(sys.argv[2])
assert all(value.equal(expected[name]) for name, value in model.state_dict().items() if name in expected)
assert CLIPTokenizer.from_pretrained(sys.argv[1])("a dog").input_ids == [49406, 320, 1929, 49407]
"""


class Convert(FolderCase):
    def setUp(self):
        super().setUp()
        self.mixed = pathlib.Path(self.path("mixed"))  # good weights, and a pickle beside them that a conversion leaves alone
        shutil.copytree(GOLDEN / "clip" / "hf", self.mixed)
        (self.mixed / "old_model.bin").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
        server = subprocess.Popen([sys.executable, HERE / "hub_server.py", self.path("log"), "-", f"clip-vit-large-patch14={GOLDEN}/clip/hf",
                                   f"tiny-llava={GOLDEN}/decoders/llava/hf", f"mixed={self.mixed}"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        self.environment |= {"HF_ENDPOINT": server.stdout.readline().split()[0], "HF_HOME": self.path("home"), "no_proxy": "127.0.0.1,localhost"}

    def run_anemone(self, *words, exit=0, **environment):
        done = subprocess.run([ANEMONE, *words], cwd=self.dir, env=self.environment | environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, exit, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout if exit == 0 else done.stdout + done.stderr

    def requests(self):
        with open(self.path("log")) as log:
            return log.read()

    def test_a_hub_id_becomes_a_nemo(self):
        hparams = ("--hparams", GOLDEN / "clip" / "hparams.yaml")
        token = {"HF_TOKEN": "hf_test"}
        self.run_anemone("convert", NAME, "openai_clip.nemo", *hparams, "--check", **token)
        self.assertIn("equal: 74 tensors", self.run_anemone("diff", "openai_clip.nemo", GOLDEN / "clip" / "mcore.nemo", "--weights"))
        self.assertIn("model.safetensors", self.requests())
        # Read in place: nothing is in the cache. The token goes to the hub alone.
        self.assertFalse(os.path.exists(self.path("home/hub")))
        lines = [line.split() for line in self.requests().splitlines()]
        self.assertEqual({line[-1] for line in lines if line[1] == "cdn"}, {"-"})
        self.assertIn("auth", {line[-1] for line in lines if line[1] == "hub"})
        # The same by an address, a revision and a file.
        for name in (f"hf://{NAME}", f"hf://{NAME}@main", f"https://huggingface.co/{NAME}/tree/main", f"hf://{NAME}/model.safetensors",
                     f"hf://models/{NAME}", f"hf.co/{NAME}", f"https://huggingface.co/{NAME}/raw/refs%2Fpr%2F1/model%2Esafetensors",
                     f"hf://{NAME}@refs/pr/1/model.safetensors", f"https://huggingface.co/{NAME}/tree/refs/pr/1"):
            self.assertIn("equal: ", self.run_anemone("diff", name, GOLDEN / "clip" / "hf", "--weights"))
        for name in ("https://huggingface.co/datasets/org/name", "hf://spaces/org/name/x.bin"):
            self.assertIn("expected a model of the hub, found a ", self.run_anemone("inspect", name, exit=64))
        # Once it is fetched, its cache serves without a hub, and so do the variables that name it otherwise.
        self.run_anemone("fetch", NAME)
        asked = self.requests()
        hub = self.path("home/hub")
        for where in ({}, {"HF_HOME": "/nope", "HF_HUB_CACHE": hub}, {"HF_HOME": "/nope", "HUGGINGFACE_HUB_CACHE": hub}):
            for offline in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
                self.run_anemone("convert", NAME, "again.nemo", *hparams, "--force", **where, **{offline: "1"})
                self.assertIn("equal", self.run_anemone("diff", "again.nemo", "openai_clip.nemo"))
        self.assertEqual(self.requests(), asked)
        words = ("infer", NAME, "--image", GOLDEN / "clip" / "test.jpg", "--text", "a dog", "--text", "a girl")
        self.assertTrue(self.run_anemone(*words).startswith("Given image's CLIP text probability:  [('a dog', "))

    def test_scan_reads_the_whole_repository(self):
        self.assertIn("inert", self.run_anemone("scan", NAME))
        for fetched in (False, True):  # the cache lacks what a conversion does not need
            said = self.run_anemone("scan", "org/mixed", exit=1)
            self.assertRegex(said, r"DANGEROUS.*posix system.*org/mixed/old_model\.bin")
            self.assertIn("ok", self.run_anemone("verify", "org/mixed"))
            self.assertIn("[]", self.run_anemone("cat", "org/mixed", "logit_scale", "--summary"))
            self.run_anemone("report", "org/mixed", "-o", f"{fetched}.html")
            self.run_anemone("fetch", "org/mixed")
        said = self.run_anemone("edit", "org/mixed", "--set", "a=1", exit=65)
        self.assertIn("org/mixed: expected a file or folder on this machine to edit, found an address or a hub id", said)

    def test_a_hub_id_gives_the_tower(self):
        self.run_anemone("convert", GOLDEN / "families" / "llava.nemo", "hf", "--to", "hf", "--with", "org/tiny-llava")
        self.run_anemone("convert", GOLDEN / "families" / "llava.nemo", "local", "--to", "hf", "--with", GOLDEN / "decoders/llava/hf")
        self.assertIn("equal: 80 tensors", self.run_anemone("diff", "hf", "local"))
        self.assertIn("tiny-llava", self.requests())

    def test_transformers_finds_it(self):
        self.run_anemone("fetch", NAME)
        python = os.environ.get("ANEMONE_TEST_PYTHON") or sys.executable
        done = subprocess.run([python, "-W", "ignore", "-c", FROM_TRANSFORMERS, NAME, GOLDEN / "clip" / "hf" / "model.safetensors"],
                              env=self.environment | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
        if done.returncode == 77:
            self.skipTest("this Python has no transformers (ANEMONE_TEST_PYTHON names another); hub_test checks the layout itself")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_progress_bar(self):
        """On a terminal, while a connection is cut and resumed, unless HF_HUB_DISABLE_PROGRESS_BARS says otherwise."""
        running = []
        for value, shown in (("", True), ("0", True), ("1", False), ("true", False)):
            terminal, end = pty.openpty()
            environment = {"HF_HUB_CACHE": self.path("cache" + value), "HF_HUB_DISABLE_PROGRESS_BARS": value}
            process = subprocess.Popen([ANEMONE, "fetch", "org/cut"], env=self.environment | environment, stdout=subprocess.DEVNULL, stderr=end)
            os.close(end)
            running.append((value, shown, terminal, process))
        for value, shown, terminal, process in running:
            written = self.read_all(terminal)
            with self.subTest(value):
                self.assertEqual(process.wait(), 0, written)
                self.assertEqual(b"%" in written, shown, written)

    def read_all(self, terminal):
        written = b""
        while True:
            try:
                part = os.read(terminal, 1 << 16)
            except OSError:  # the other end is closed
                part = b""
            if not part:
                os.close(terminal)
                return written
            written += part


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
