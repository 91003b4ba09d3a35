"""A test of sources on a server: the server of remote_server.py, and files for it to serve. Its program's arguments: ANEMONE GOLDEN_DIR."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "testing"))
from folder_case import FolderCase  # noqa: E402

ANEMONE, GOLDEN = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
OUTSIDE = ("HF_", "HUGGING", "AWS_", "GS_", "GOOGLE_", "CLOUDSDK_", "STORAGE_")


class RemoteCase(FolderCase):
    def setUp(self):
        super().setUp()
        self.served = pathlib.Path(self.path("served"))
        self.served.mkdir()
        shutil.copytree(GOLDEN / "clip" / "hf", self.served / "hf")
        shutil.copy(GOLDEN / "clip" / "mcore.nemo", self.served)
        server = subprocess.Popen([sys.executable, HERE / "remote_server.py", self.path("log"), self.served],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        self.url = server.stdout.readline().split()[0]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(OUTSIDE)}
        self.environment |= {"no_proxy": "127.0.0.1,localhost", "HF_HOME": self.path("home"), "HF_HUB_OFFLINE": "1"}

    def run_anemone(self, *words, exit=0, **environment):
        done = subprocess.run([ANEMONE, *map(str, words)], cwd=self.dir, env=self.environment | environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, exit, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def log(self):
        return pathlib.Path(self.path("log")).read_text().splitlines()
