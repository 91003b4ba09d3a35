"""The pages of `report` and `infer --html`: their data against numpy, their text when names are hostile, and, where the environment's
CHROMIUM names one, what a browser makes of them.

usage: pages_test.py PROGRAM GOLDEN_DIR DEMO_CLIP_DIR
"""

import glob
import json
import os
import re
import struct
import subprocess
import sys
import unittest

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from folder_case import FolderCase  # noqa: E402

PROGRAM, GOLDEN, DEMO = (os.path.abspath(path) for path in sys.argv[1:4])
CHROMIUM = os.environ.get("CHROMIUM")


def safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).astype(np.float64)
            for name, entry in header.items() if name != "__metadata__"}


class Pages(FolderCase):
    def run_program(self, *words, code=0):
        done = subprocess.run([PROGRAM, *words], cwd=self.dir, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, code, f"{words}\n{done.stdout}{done.stderr}")
        return done

    def page(self, *words):
        """The page's data; that nothing of it leaves the page."""
        out = os.path.join(self.dir, f"{len(os.listdir(self.dir))}.html")
        self.run_program(*words, out)
        with open(out, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text.count("</script>"), 2)
        self.assertNotRegex(text, r"https?://(?!www\.w3\.org/2000/svg)")
        self.assertIn("Content-Security-Policy", text)
        self.browse(out)
        return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])

    def shows(self, text):
        if CHROMIUM is not None:
            self.assertIn(text, self.dom)

    def check_contents(self, *titles):
        """The links above the sections, each to the section that it names."""
        if CHROMIUM is None:
            return
        links = re.findall(r'<a href="#([\w-]+)">([^<]+)</a>', re.search(r"<nav>(.*?)</nav>", self.dom)[1])
        self.assertEqual([title for _, title in links], list(titles))
        for place, title in links:
            self.assertRegex(self.dom, f'<section id="{place}"><h2>{title}')

    def browse(self, path):
        if CHROMIUM is None:
            return
        done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                               f"--user-data-dir={self.dir}/.browser", "--enable-logging=stderr", "--dump-dom", "file://" + path],
                              capture_output=True, text=True, timeout=120)
        self.assertIn("made by anemone", done.stdout, done.stderr[-2000:])  # the script's last word
        self.assertNotIn("Uncaught", done.stderr)
        self.dom = done.stdout
        for width in (390, 1280):
            self.check_width(path, width)

    def check_width(self, path, width):
        """Nothing of the page is beyond its right edge, but what scrolls by itself."""
        with open(path, encoding="utf-8") as page:
            text = json.dumps(page.read()).replace("<", "\\u003c")
        copy = path + f".{width}.html"  # a browser's window has a least width, a frame has none
        with open(copy, "w", encoding="utf-8") as out:
            out.write(f"<!doctype html><meta charset=utf-8><body><iframe id=f width={width} height=1200 style='border:0'></iframe><script>f.onload = () => {{"
                      "const w = f.contentWindow, d = f.contentDocument; document.body.dataset.fits = [w.innerWidth, "
                      "d.documentElement.scrollWidth, [...d.querySelectorAll('section *')].filter(e => "
                      "!e.closest('.scroll, .map, pre, svg') && e.getBoundingClientRect().right > w.innerWidth + 1).length].join()};"
                      f"f.srcdoc = {text}</script></body>")
        done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.dir}/.browser",
                               "--window-size=1400,1300", "--virtual-time-budget=5000", "--dump-dom", "file://" + copy],
                              capture_output=True, text=True, timeout=120)
        inner, scroll, beyond = map(int, re.search(r'data-fits="(\d+),(\d+),(\d+)"', done.stdout).groups())
        self.assertEqual(inner, width)
        self.assertEqual((scroll <= inner, beyond), (True, 0), (path, inner, scroll))

    def test_report(self):
        data = self.page("report", DEMO, "--statistics", "-o")
        (checkpoint,) = data["checkpoints"]
        expected = safetensors(os.path.join(DEMO, "model.safetensors"))
        self.assertEqual({t["name"] for t in checkpoint["tensors"]}, set(expected))
        self.assertEqual(checkpoint["parameters"], sum(x.size for x in expected.values()))
        self.assertEqual((checkpoint["family"], checkpoint["layout"]), ("clip", {"tp": 1, "pp": 1, "vp": 1}))
        self.check_contents("Config", "Files that travel with it", "Next", "Notes", "Parameters by module", "Standard deviation over depth", "Tensors")
        for tensor in checkpoint["tensors"]:
            x, s = expected[tensor["name"]], tensor["statistics"]
            self.assertEqual((s["min"], s["max"], s["zeros"]), (x.min(), x.max(), (x == 0).sum()))
            np.testing.assert_allclose([s["mean"], s["std"]], [x.mean(), x.std()], rtol=1e-9, atol=1e-12)
            counts, _ = np.histogram(x, bins=np.linspace(-s["range"], s["range"], len(s["bins"]) + 1)) if s["range"] else ([], None)
            self.assertEqual(s["bins"], list(counts), tensor["name"])

    def test_ranks(self):
        (checkpoint,) = self.page("report", os.path.join(GOLDEN, "clip/mcore_tp2.nemo"), "-o")["checkpoints"]
        self.assertEqual([(r["tp"], r["pp"]) for r in checkpoint["ranks"]], [(0, 0), (1, 0)])
        self.assertIn("vision_encoder.decoder.layers 0–2", " ".join(checkpoint["ranks"][0]["holds"]))
        self.assertNotIn("statistics", checkpoint["tensors"][0])

    def test_two(self):
        legacy, mcore = os.path.join(GOLDEN, "clip/legacy.nemo"), os.path.join(GOLDEN, "clip/mcore.nemo")
        self.assertEqual(self.page("report", mcore, os.path.join(GOLDEN, "clip/mcore_tp2.nemo"), "-o")["difference"]["tensors"], [])
        self.assertEqual(self.page("report", legacy, legacy, "-o")["difference"]["tensors"], [])
        self.shows("Identical")
        self.run_program("convert", mcore, "half.nemo", "--dtype", "bf16", "--set", "optim.lr=0.5")
        difference = self.page("report", mcore, "half.nemo", "-o")["difference"]
        self.assertEqual(difference["canonical"], False)
        self.shows("Other dtypes, values rounded")
        self.check_contents("Config values that differ", "Differences by layer", "Tensors that differ")
        if CHROMIUM is not None:  # the verdict, then the config, then the tensors
            sections = re.sub("<nav>.*?</nav>", "", self.dom)
            places = [sections.index(f">{title}") for title in ("Other dtypes", "Config values that differ", "Differences by layer", "Tensors that differ")]
            self.assertEqual(places, sorted(places))
        self.assertEqual(len(difference["tensors"]), difference["compared"])
        self.assertIn("0.5", [entry["second"] for entry in difference["config"] if entry["path"] == "optim.lr"])

    def test_a_hostile_name_stays_text(self):
        name = "</script><script>document.title='owned'</script>"
        header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        with open(os.path.join(self.dir, "x.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + struct.pack("<f", float("nan")))
        (checkpoint,) = self.page("report", "x.safetensors", "--statistics", "-o")["checkpoints"]
        self.assertEqual(checkpoint["tensors"][0]["name"], name)
        self.assertEqual(checkpoint["tensors"][0]["statistics"]["nans"], 1)

    def test_an_existing_page_is_kept(self):
        open(os.path.join(self.dir, "a.html"), "w").close()
        self.assertIn("already exists", self.run_program("report", DEMO, "-o", "a.html", code=73).stderr)
        self.run_program("report", DEMO, "-o", "a.html", "--force")

    def test_infer(self):
        images = sorted(glob.glob(os.path.join(DEMO, "images", "*")))[:3]
        words = ["infer", DEMO, *sum((["--image", image] for image in images), []), "--text", "a bag", "--text", "a <b>coat</b>"]
        data = self.page(*words, "--html")
        said = [json.loads(line) for line in self.run_program(*words, "--json").stdout.splitlines()]
        self.assertEqual([image["probabilities"] for image in data["images"]], [line["probabilities"] for line in said])
        for image in data["images"]:
            self.assertRegex(image["uri"], "^data:image/(png|jpeg);base64,")
        self.run_program("infer", DEMO, "--image", images[0], "--html", "x.html", code=64)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
