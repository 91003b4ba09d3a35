"""An installed wheel where nothing else of the project is: what it loads, the documentation's two commands under torchrun, a CLIP.

usage: wheel_test.py DEMO_CLIP_DIR [TORCHRUN…]   under the Python that has the wheel and numpy (scripts/wheel --test)
TORCHRUN… starts its workers with this Python, whichever Python it runs under itself; without it those commands run alone.
"""

import glob
import http.server
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import threading
import unittest

# What any Linux with this Python has [PEP 600, the manylinux policies].
SYSTEM = ("ld-linux", "libc.", "libm.", "libdl.", "libpthread.", "librt.", "libutil.", "libresolv.", "libstdc++.", "libgcc_s.", "libpython",
          "libnss", "libanl.", "libmvec.")
# What Python's own modules load.
PYTHONS = ("libz.so", "libbz2.so", "liblzma.so", "libssl.so", "libcrypto.so", "libffi.so", "libexpat.so")
DEMO, TORCHRUN = os.path.abspath(sys.argv[1]), sys.argv[2:]


def run(*words, **environment):
    result = subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})
    assert result.returncode == 0, f"{words}\n{result.stdout}{result.stderr}"
    return result.stdout


class Wheel(unittest.TestCase):
    def test_it_carries_its_libraries(self):
        import anemone
        os.environ["ANEMONE_GEMM"] = "openblas"
        folder = os.path.dirname(os.path.dirname(anemone.__file__))
        self.assertEqual(folder, sysconfig.get_path("platlib"))
        model = anemone.models.MegatronCLIPModel.restore_from(DEMO)  # brings in OpenBLAS, as ANEMONE_GEMM says
        images = sorted(glob.glob(os.path.join(DEMO, "images", "*")))
        answer = model.classify(images, ["a photo of a bag", "a photo of an ankle boot"])
        self.assertEqual(answer.shape, (len(images), 2))
        with self.assertRaises(anemone.NotFoundError):  # brings in libcurl
            with Nothing() as endpoint:
                os.environ.update(HF_ENDPOINT=endpoint, HF_HUB_CACHE=tempfile.mkdtemp())
                anemone.open("org/model")
        with open("/proc/self/maps", encoding="utf-8") as maps:
            mapped = {line.split()[-1] for line in maps if ".so" in line.split()[-1]}
        mine = {path for path in mapped if path.startswith((folder, os.path.realpath(folder)))}
        self.assertTrue([path for path in mine if "libopenblas.so.0" in path], mine)
        self.assertTrue([path for path in mine if "libcurl.so.4" in path], mine)
        strange = [path for path in mapped - mine if not path.startswith((sys.base_prefix, sysconfig.get_path("stdlib")))
                   and not os.path.basename(path).startswith(SYSTEM)
                   and not os.path.basename(path).startswith(PYTHONS)]
        self.assertEqual(strange, [])

    def test_it_is_for_every_python(self):
        import anemone
        folder = os.path.dirname(anemone.__file__)
        record, = glob.glob(os.path.join(os.path.dirname(folder), "anemone_nemo-*.dist-info", "WHEEL"))
        with open(record, encoding="utf-8") as file:
            tags = re.findall(r"^Tag: (.*)", file.read(), re.M)
        self.assertRegex(" ".join(tags), r"^py3-none-manylinux_2_\d+_x86_64$")
        self.assertEqual(glob.glob(os.path.join(folder, "**", "*.cpython-*.so"), recursive=True), [])
        with open(os.path.join(folder, "libanemone.so"), "rb") as file:  # no function of Python's, of whatever version
            self.assertIsNone(re.search(rb"\0_?Py[A-Z]\w+\0", file.read()))

    def test_it_carries_their_licences(self):
        import anemone
        site = os.path.dirname(os.path.dirname(anemone.__file__))
        carried = glob.glob(os.path.join(site, "anemone_nemo.libs", "*")) + glob.glob(os.path.join(site, "anemone", "libraries", "*"))
        folder, = glob.glob(os.path.join(site, "anemone_nemo-*.dist-info", "licenses"))
        with open(os.path.join(folder, "libraries", "README.md"), encoding="utf-8") as page:
            rows = dict(re.findall(r"^\| (\S+\.so\S*) \|.*\]\((\S+)\)", page.read(), re.M))
        self.assertEqual(sorted(rows), sorted(os.path.relpath(path, site) for path in carried))
        for text in rows.values():
            self.assertGreater(os.path.getsize(os.path.join(folder, "libraries", text)), 200, text)
        self.assertEqual(sorted(os.listdir(folder)), ["COPYRIGHT", "LICENSE", "libraries"])

    def test_it_is_imported_quickly(self):
        code = "import time; t = time.process_time(); import anemone; print(time.process_time() - t)"
        self.assertLess(min(float(run(sys.executable, "-c", code)) for _ in range(5)), 0.05)

    def test_the_documentations_commands(self):
        scripts = {os.path.basename(line.split()[0])[:-3]: line.split()[0] for line in
                   run(sys.executable, "-m", "anemone.nemo").splitlines()}
        for launcher in [[*TORCHRUN, f"--nproc_per_node={n}"] for n in (1, 2)] if TORCHRUN else [[sys.executable]]:
            with tempfile.TemporaryDirectory() as folder:
                out = os.path.join(folder, "openai_clip.nemo")
                run(*launcher, scripts["convert_clip_hf_to_nemo"], f"--input_name_or_path={DEMO}", f"--output_path={out}",
                    PYTHON_EXEC=sys.executable)
                said = run(*launcher, scripts["megatron_clip_infer"], f"model.restore_from_path={out}",
                           f"image_path={DEMO}/images/bag.jpg", 'texts=["a photo of a bag", "a photo of a dress"]',
                           PYTHON_EXEC=sys.executable)
            self.assertEqual(said.count("Given image's CLIP text probability:  [('a photo of a bag', "), 1, said)

    def test_the_program(self):
        program = os.path.join(os.path.dirname(sys.executable), "anemone")
        self.assertIn("family", run(program, "inspect", DEMO))
        if TORCHRUN:
            self.assertEqual(run(*TORCHRUN, "--nproc_per_node=2", "--no_python", program, "inspect", DEMO).count("family"), 1)


class Nothing:
    """A hub that has nothing."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
            do_HEAD = do_GET
            log_message = lambda *_: None  # noqa: E731
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
