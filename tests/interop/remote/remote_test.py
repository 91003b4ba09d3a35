"""Sources on servers: read by ranges, streamed into outputs, and every way in which a server can fail.

usage: remote_test.py ANEMONE GOLDEN_DIR
ANEMONE_TEST_PYTHON names a Python with botocore, where this machine's has none.
"""

import filecmp
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import remote_server  # noqa: E402
from remote_case import ANEMONE, GOLDEN, RemoteCase  # noqa: E402


def write_sparse(folder, name, tensors):
    """A safetensors file of zeros with these tensors (name: shape, in F16), of which only the header takes room."""
    header, at = {}, 0
    for tensor, shape in tensors.items():
        size = 2
        for dimension in shape:
            size *= dimension
        header[tensor] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / (name + ".header")).write_bytes(struct.pack("<Q", len(text)) + text)
    (folder / name).write_text(json.dumps({"size": 8 + len(text) + at}))
    return at


class Remote(RemoteCase):
    def expected(self):
        if not os.path.exists(self.path("expected")):
            self.run_anemone("convert", GOLDEN / "clip" / "mcore.nemo", "expected", "--to", "hf")
        return self.path("expected")

    def assert_same(self, folder):
        names = sorted(os.listdir(self.expected()))
        self.assertEqual(sorted(os.listdir(folder)), names)
        self.assertEqual(filecmp.cmpfiles(self.expected(), folder, names, shallow=False)[1:], ([], []))

    def test_streams_what_a_server_sends(self):
        """Rightly, however it sends it; and writes what a local source would have given."""
        for behaviour in ("plain", "weak", "dated", "norange", "less", "cut", "busy", "moved", "expiring", "slow", "label"):
            with self.subTest(behaviour):
                self.run_anemone("convert", f"{self.url}/{behaviour}/mcore.nemo", behaviour, "--to", "hf")
                self.assert_same(self.path(behaviour))
        self.assertFalse([line for line in self.log() if line.startswith("GET other") and " auth " in line])

    def test_refuses_what_is_wrong(self):
        for behaviour, exit, words in (
            ("wrongrange", 69, "expected bytes 0-65535, the server answers with Content-Range: bytes 1-65536/"),
            ("badrange", 69, "the server answers with Content-Range: bytes who knows"),
            ("more", 69, "the server sends more"),
            ("coded", 69, "expected content that is not compressed, found Content-Encoding: gzip"),
            ("unversioned", 69, "expected an ETag or a Last-Modified"),
            ("loop", 69, "at most 10 redirects"),
            ("forbidden", 66, "the server forbids it (HTTP 403)"),
            ("plain/absent", 66, "expected a file, the server has none (HTTP 404)"),
        ):
            with self.subTest(behaviour):
                said = self.run_anemone("convert", f"{self.url}/{behaviour}/mcore.nemo", "out", "--to", "hf", exit=exit)
                self.assertIn(f"{self.url}/{behaviour}/mcore.nemo: ", said)
                self.assertIn(words, said)
                self.assertFalse(os.path.exists(self.path("out")))
        write_sparse(self.served, "big.sparse.safetensors", {"x": [1 << 24]})
        self.assertIn("it serves no ranges", self.run_anemone("inspect", f"{self.url}/norange/big.sparse.safetensors", exit=69))
        (self.served / "empty.safetensors").touch()
        for behaviour in ("plain", "shy", "norange"):
            self.assertIn("an empty file", self.run_anemone("inspect", f"{self.url}/{behaviour}/empty.safetensors", exit=65))
        self.assertIn("expected the path", self.run_anemone("inspect", "", exit=64))
        self.assertIn("begin with https://", self.run_anemone("inspect", "ftp://host/x", exit=66))

    def test_a_file_that_changes_is_an_error(self):
        for behaviour in ("changing", "rewritten"):
            with self.subTest(behaviour):
                url = f"{self.url}/{behaviour}/hf/model.safetensors"
                self.assertIn(f"{url}: changed on the server while it was read", self.run_anemone("convert", url, "out.nemo", exit=74))
                self.assertFalse(os.path.exists(self.path("out.nemo")))

    def test_a_large_model_is_inspected_in_little_time(self):
        """400 GB in 80 files behind a server that takes 50 ms an answer."""
        folder = self.served / "large"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))
        weight_map, total = {}, 0
        for i in range(80):
            name = f"model-{i + 1:05}-of-00080.sparse.safetensors"
            tensors = {f"model.layers.{i}.{j}.weight": [5000, 5000] for j in range(100)}
            total += write_sparse(folder, name, tensors)
            weight_map |= dict.fromkeys(tensors, name)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        self.assertEqual(total, 400_000_000_000)
        begin = time.monotonic()
        said = json.JSONDecoder().raw_decode(self.run_anemone("inspect", f"{self.url}/slow/large/", "--json"))[0]
        seconds = time.monotonic() - begin
        ranges = [line.split()[3] for line in self.log() if " 206" in line]
        read = sum(int(end) - int(start) + 1 for start, end in (r.removeprefix("bytes=").split("-") for r in ranges))
        print(f"\n400 GB inspected in {seconds:.1f} s, {read / 1e6:.1f} MB asked for in {len(self.log())} requests", file=sys.stderr)
        self.assertEqual(sum(amount["tensors"] for amount in said["dtypes"].values()), 8000)
        self.assertLess(seconds, 20)  # far from one after another on a fast machine, far from all bytes on any
        self.assertLess(read, 20e6)

    def test_folders_files_and_what_is_beside_them(self):
        local = self.run_anemone("diff", GOLDEN / "clip" / "hf", f"{self.url}/plain/hf/")
        self.assertIn("equal", local)
        self.assertIn("equal", self.run_anemone("diff", GOLDEN / "clip" / "hf", f"{self.url}/plain/hf/model.safetensors?token=secret"))
        said = self.run_anemone("inspect", f"{self.url}/plain/hf/model.safetensors?token=secret")
        self.assertNotIn("secret", said)
        self.assertIn("config from", said)
        self.assertIn("ok", self.run_anemone("verify", f"{self.url}/plain/mcore.nemo"))
        self.assertIn("expected model.safetensors", self.run_anemone("inspect", f"{self.url}/plain/", exit=66))

    def test_reading_commands_answer_as_of_a_file_here(self):
        url, here = f"{self.url}/plain/mcore.nemo", self.served / "mcore.nemo"
        name = "model.text_encoder.final_layernorm.weight"
        for words in (["scan", "-v"], ["verify"], ["cat", "SRC", name, "--summary"], ["extract", "SRC", "out"],
                      ["extract", "SRC", "out", "--member", "model_config.yaml"], ["report", "SRC", "-o", "out", "--statistics"],
                      ["average", "SRC", "SRC", "out", "--to", "safetensors"]):
            with self.subTest(words):
                said = []
                for source in (str(here), url):
                    given = [source if word == "SRC" else word for word in words]
                    if "SRC" not in words:
                        given.append(source)
                    text = self.run_anemone(*given).replace(source, "SRC")
                    said.append("\n".join(line for line in text.splitlines() if not line.startswith(("wrote ", "anemone: note: read in place"))))
                    out = pathlib.Path(self.path("out"))
                    if out.is_dir():
                        said[-1] = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
                        self.assertTrue(said[-1])
                        shutil.rmtree(out)
                    elif out.exists():
                        said[-1] = re.sub(rb'"read in place: [^"]*"', b"", out.read_bytes().replace(source.encode(), b"SRC"))
                        out.unlink()
                self.assertEqual(said[0], said[1])
        self.assertIn('"scan": {"inert": true', self.report_of(url))
        self.assertIn("expected a .nemo archive (tar)", self.run_anemone("extract", f"{self.url}/plain/hf/", "out", exit=65))
        self.assertIn("HTTP 400", self.run_anemone("scan", f"{self.url}/fail-2-400/mcore.nemo", exit=69))
        for name in (url, "org/name", "hf://org/name/x.nemo"):
            said = self.run_anemone("edit", name, "--set", "a=1", exit=65)
            self.assertIn(f"{name}: expected a file or folder on this machine to edit, found an address or a hub id", said)
            self.assertIn("hint: convert it to a .nemo here", said)

    def report_of(self, source):
        self.run_anemone("report", source, "-o", "report.html")
        return pathlib.Path(self.path("report.html")).read_text()

    def test_a_killed_conversion_goes_on(self):
        """--resume asks again only for what was not recorded; a file that has changed meanwhile is refused by name."""
        self.run_anemone("convert", f"{self.url}/plain/mcore.nemo", "out", "--to", "hf", "--resume")
        self.assert_same(self.path("out"))
        size = 80 << 20
        tensors = {name: {"dtype": "U8", "shape": [size], "data_offsets": [i * size, (i + 1) * size]} for i, name in enumerate("abcdef")}
        header = json.dumps(tensors).encode()
        served = self.served / "large.safetensors"
        with open(served, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in tensors:
                file.write(os.urandom(size))
        words = ["convert", f"{self.url}/slow/large.safetensors", "out.safetensors", "--resume"]

        def bytes_sent():
            ranges = [line.split()[3].removeprefix("bytes=").split("-") for line in self.log() if "large" in line and line.endswith(" 206")]
            return sum(int(end) - int(begin) + 1 for begin, end in ranges)

        def kill_half_way():
            done = pathlib.Path(self.path(".out.safetensors.anemone-resume/done.0"))
            run = subprocess.Popen([ANEMONE, *words], cwd=self.dir, env=self.environment, stderr=subprocess.DEVNULL)
            while not done.exists() or done.stat().st_size == 0:
                self.assertIsNone(run.poll(), "it ended before it recorded anything")
                time.sleep(0.01)
            run.kill()
            run.wait()
            self.assertFalse(os.path.exists(self.path("out.safetensors")))

        kill_half_way()
        before = bytes_sent()
        self.run_anemone(*words)
        self.assertLess(bytes_sent() - before, 5 * size)  # of 6; 256 MiB were recorded
        self.run_anemone("diff", served, "out.safetensors")
        self.assertEqual([name for name in os.listdir(self.dir) if "resume" in name], [])

        os.remove(self.path("out.safetensors"))
        kill_half_way()
        os.utime(served, (0, 0))  # another ETag
        said = self.run_anemone(*words, exit=64)
        self.assertIn(f"out.safetensors: cannot resume what was begun before {self.url}/slow/large.safetensors changed", said)
        self.assertIn("use no --resume to write it anew", said)
        self.assertFalse(os.path.exists(self.path("out.safetensors")))

        # A file so small that its bytes could be compared instead.
        def requests():  # a killed run's may be noted still
            return sum("/plain/mcore.nemo" in line for line in self.log())

        before = requests()
        self.run_anemone("convert", f"{self.url}/plain/mcore.nemo", "whole", "--to", "hf")
        # Some threads ask for what others have just got, so that the number differs from run to run by a few.
        failing = f"{self.url}/fail-{(requests() - before) * 3 // 4}-400/mcore.nemo"
        self.run_anemone("convert", failing, "small", "--to", "hf", "--resume", exit=69)
        self.assertTrue(os.path.exists(self.path(".small.anemone-resume")))
        os.utime(self.served / "mcore.nemo", (0, 0))
        said = self.run_anemone("convert", failing, "small", "--to", "hf", "--resume", exit=64)
        self.assertIn(f"small: cannot resume what was begun before {failing} changed", said)

    def stop_when_stalled(self, stop, *words):
        """Runs a command until the server stalls, then sends the signal. How many seconds it took to end."""
        stalled = sum(line.endswith(" stall") for line in self.log())
        run = subprocess.Popen([ANEMONE, *map(str, words)], cwd=self.dir, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while sum(line.endswith(" stall") for line in self.log()) == stalled:
            self.assertIsNone(run.poll(), f"{words} ended before the server stalled")
            time.sleep(0.01)
        begin = time.monotonic()
        run.send_signal(stop)
        self.assertIn(run.wait(), (128 + stop, -stop))
        return time.monotonic() - begin

    def test_a_signal_ends_what_waits_for_a_server(self):
        """Within half a second, wherever it waits, with nothing left behind."""
        write_sparse(self.served, "big.sparse.safetensors", {name: [1 << 22] for name in "abcd"})
        before = sorted(os.listdir(self.dir))
        model, big = sources = "mcore.nemo", "big.sparse.safetensors"
        sources += ("hf/model.safetensors",)
        commands = {
            ("inspect", model): (1, 2),
            ("convert", model, "out", "--to", "hf"): (1, 2, 3),
            ("convert", model, "out", "--to", "hf", "--resume"): (3,),
            ("convert", "hf/model.safetensors", "out.nemo"): (1, 4),
            ("convert", big, "out.safetensors", "--dtype", "fp32"): (2, 3),
            ("verify", model): (1, 2),
            ("scan", model): (1, 2),
            ("extract", model, "out"): (1, 2),
            ("diff", big, big): (2, 3),
            ("report", big, "-o", "out.html", "--statistics"): (1, 4),
            ("cat", big, "a"): (2,),
            ("average", big, big, "out.safetensors"): (1, 3),
        }
        numbers = itertools.count()
        for words, stalls in commands.items():
            for at in stalls:
                for how, stop in (("head", signal.SIGINT), ("body", signal.SIGTERM)):
                    with self.subTest(words, at=at, how=how):
                        def attempt():
                            address = f"{self.url}/stall-{at}-{how}-{next(numbers)}/"
                            took = self.stop_when_stalled(stop, *(address + word if word in sources else word for word in words))
                            if "--resume" in words:
                                self.run_anemone("clean", ".", "--all")
                            self.assertEqual(sorted(os.listdir(self.dir)), before)
                            return took

                        self.assertEndsAtOnce(attempt)

    def test_killed_while_a_server_stalls(self):
        """What is left is hidden; --resume goes on from it, and a run without clears it."""
        write_sparse(self.served, "big.sparse.safetensors", {name: [1 << 22] for name in "abcd"})
        self.run_anemone("convert", f"{self.url}/plain/big.sparse.safetensors", "want.safetensors", "--dtype", "fp32")
        for how in ("head", "body"):
            for more, left in ((["--resume"], ".out.safetensors.anemone-resume"), ([], ".out.safetensors.anemone-tmp")):
                with self.subTest(how, more=more):
                    url = f"{self.url}/pause-4-{how}-{len(more)}/big.sparse.safetensors"
                    words = ["convert", url, "out.safetensors", "--dtype", "fp32", *more]
                    before = sorted(os.listdir(self.dir))
                    self.stop_when_stalled(signal.SIGKILL, *words)
                    self.assertEqual(sorted(os.listdir(self.dir)), sorted([*before, left]))
                    self.run_anemone(*words)
                    self.assertEqual(sorted(os.listdir(self.dir)), sorted([*before, "out.safetensors"]))
                    self.assertTrue(filecmp.cmp(self.path("want.safetensors"), self.path("out.safetensors"), shallow=False))
                    os.remove(self.path("out.safetensors"))

    def test_a_signal_ends_a_fetch(self):
        """Wherever the hub stalls: nothing of the model is left that a later fetch would take for a whole file."""
        before, numbers = os.listdir(self.dir), itertools.count()
        for stop in (signal.SIGINT, signal.SIGTERM):
            def attempt():
                self.environment |= {"HF_ENDPOINT": f"{self.url}/stall-1-head-{next(numbers)}", "HF_HUB_OFFLINE": "0"}
                took = self.stop_when_stalled(stop, "fetch", "org/model")
                self.assertEqual([name for name in os.listdir(self.dir) if name not in (*before, "home")], [])
                return took

            with self.subTest(stop):
                self.assertEndsAtOnce(attempt)

    def object_store(self, scheme):
        shutil.copytree(self.served / "hf", self.served / "models" / "a b & <c>" / "hf")
        shutil.copytree(self.served / "models", self.served / "public-models")
        if scheme == "s3":
            return {"AWS_ENDPOINT_URL_S3": self.url + "/s3", "AWS_REGION": "eu-north-1"}, {
                "AWS_ACCESS_KEY_ID": remote_server.KEY_ID, "AWS_SECRET_ACCESS_KEY": remote_server.SECRET}
        return {"STORAGE_EMULATOR_HOST": self.url + "/gs"}, {"GS_ACCESS_KEY_ID": remote_server.KEY_ID, "GS_SECRET_ACCESS_KEY": remote_server.SECRET}

    def check_store(self, scheme, keys, credentials):
        for name in (f"{scheme}://models/a b & <c>/hf", f"{scheme}://models/a b & <c>/hf/", f"{scheme}://models/a b & <c>/hf/model.safetensors"):
            for more in credentials:
                self.assertIn("equal", self.run_anemone("diff", GOLDEN / "clip" / "hf", name, **keys, **more))
            self.assertIn("HTTP 403", self.run_anemone("inspect", name, exit=66, **keys))
            public = name.replace("://models", "://public-models")
            self.assertIn("equal", self.run_anemone("diff", GOLDEN / "clip" / "hf", public, **keys))
        self.assertIn("HTTP 404", self.run_anemone("inspect", f"{scheme}://public-models/absent", exit=66, **keys))

    def test_s3(self):
        keys, credentials = self.object_store("s3")
        self.check_store("s3", keys, [credentials, credentials | {"AWS_SESSION_TOKEN": remote_server.SESSION}])
        wrong = credentials | {"AWS_SECRET_ACCESS_KEY": "wrong"}
        self.assertIn("HTTP 403", self.run_anemone("inspect", "s3://models/a b & <c>/hf", exit=66, **keys, **wrong))
        del wrong["AWS_SECRET_ACCESS_KEY"]
        self.assertIn("AWS_SECRET_ACCESS_KEY", self.run_anemone("inspect", "s3://models/x", exit=64, **keys, **wrong))
        self.assertIn("expected a bucket", self.run_anemone("inspect", "s3:///x", exit=64, **keys))
        self.assertNotIn(remote_server.SECRET, "".join(self.log()))

    def test_gs(self):
        keys, credentials = self.object_store("gs")
        self.check_store("gs", keys, [credentials, {"GOOGLE_OAUTH_ACCESS_TOKEN": remote_server.BEARER}])

    def test_the_servers_signatures_are_amazons(self):
        """The server of this test accepts what botocore signs, and nothing that was changed afterwards."""
        python = os.environ.get("ANEMONE_TEST_PYTHON") or sys.executable
        sign = """
import sys
try:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    sys.exit(77)
sys.path.insert(0, sys.argv[1])
import remote_server as server
request = AWSRequest("GET", "http://host/s3/models?list-type=2&prefix=a%20b%2F", headers={"Host": "host"})
S3SigV4Auth(Credentials(server.KEY_ID, server.SECRET, server.SESSION), "s3", "eu-north-1").add_auth(request)
headers = {"host": "host"} | dict(request.headers) | {name.lower(): value for name, value in request.headers.items()}
path = "/s3/models?list-type=2&prefix=a%20b%2F"
assert server.signature_problem("GET", path, headers) == "", headers
assert server.signature_problem("GET", path + "c", headers) == "a wrong signature"
"""
        done = subprocess.run([python, "-c", sign, HERE], capture_output=True, text=True)
        if done.returncode == 77:
            self.skipTest("this Python has no botocore (ANEMONE_TEST_PYTHON names another)")
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
