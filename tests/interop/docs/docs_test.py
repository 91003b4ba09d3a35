"""Runs what README.md and docs/ show, and follows their links.

In a ```console block, lines after "$ " are commands and the rest is what they print: … stands for anything. A page's ```python
blocks are one program. Both run in a folder where `demo-clip` is the shipped model.

usage: docs_test.py PROGRAM SOURCE_DIR
"""

import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
PAGES = [os.path.join(SOURCE, "README.md"), *sorted(glob.glob(os.path.join(SOURCE, "docs", "**", "*.md"), recursive=True))]


def read(page):
    with open(page, encoding="utf-8") as file:
        return file.read()


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", read(page), re.S | re.M)


def links(page):
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", read(page), flags=re.S | re.M)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]


def anchors(page):
    """A page's headings as GitHub and MkDocs name them."""
    return [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in re.findall(r"^#+ (.*)", read(page), re.M)]


class Docs(unittest.TestCase):
    def shell(self, command, folder):
        path = os.path.dirname(PROGRAM) + os.pathsep + os.environ["PATH"]
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=300,
                              env={**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"})
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def run_pages(self, kind, run):
        pages = [page for page in PAGES if blocks(page, kind)]
        self.assertTrue(pages)
        for page in pages:
            with self.subTest(os.path.relpath(page, SOURCE)), tempfile.TemporaryDirectory() as folder:
                os.symlink(os.path.join(SOURCE, "models", "demo-clip"), os.path.join(folder, "demo-clip"))
                run("".join(blocks(page, kind)), folder)

    def run_console(self, text, folder):
        for step in ("\n" + text).split("\n$ ")[1:]:
            command, _, expected = step.partition("\n")
            pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
            self.assertRegex(self.shell(command, folder).strip(), re.compile(f"\\A{pattern}", re.S), command)

    def run_python(self, text, folder):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], cwd=folder, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_console_blocks(self):
        self.run_pages("console", self.run_console)

    def test_python_blocks(self):
        self.run_pages("python", self.run_python)

    def test_c_and_cpp_blocks_compile(self):
        for page, kind, compiler in (("library.md", "cpp", ["c++", "-std=c++20"]), ("c.md", "c", ["cc"])):
            programs = [text for text in blocks(os.path.join(SOURCE, "docs", page), kind) if text.startswith("#include")]
            self.assertTrue(programs, page)
            for text in programs:
                done = subprocess.run([*compiler, "-x", {"cpp": "c++"}.get(kind, kind), "-", "-fsyntax-only", "-Wall", "-Werror",
                                       "-I", os.path.join(SOURCE, "include")], input=text, capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, f"{page}\n{done.stderr}")

    def test_the_picture_of_a_terminal_is_what_it_shows(self):
        def numbers_apart(path):
            with open(path, encoding="utf-8") as file:
                return re.sub(r"\d+\.\d+( %| s\b)|█+", "#", re.sub(r" +(?=\d+\.\d+ %)", " ", file.read()))

        with tempfile.TemporaryDirectory() as folder:
            drawn = os.path.join(folder, "terminal.svg")
            subprocess.run([sys.executable, os.path.join(SOURCE, "tools", "terminal_svg.py"), PROGRAM,
                            os.path.join(SOURCE, "models", "demo-clip"), drawn], check=True, timeout=120)
            self.assertEqual(numbers_apart(drawn), numbers_apart(os.path.join(SOURCE, "docs", "terminal.svg")),
                             "tools/terminal_svg.py draws it anew")

    def test_links(self):
        for page in PAGES:
            for target in links(page):
                path, _, anchor = target.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                self.assertTrue(os.path.exists(path), f"{page}: {target}")
                if page != PAGES[0]:  # a site of docs/ alone has no other files (mkdocs build --strict)
                    self.assertTrue(os.path.isfile(path) and path.startswith(os.path.join(SOURCE, "docs")), f"{page}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(path), f"{page}: {target}")

    def test_the_files_that_pages_about_the_source_name_are_there(self):
        there = {os.path.relpath(path, SOURCE) for top in ("include", "src", "tests", "fuzz", "bench", "tools", "docs", "scripts", "cmake")
                 for path in glob.glob(os.path.join(SOURCE, top, "**"), recursive=True)}
        for page in ("adding-a-family.md", "adding-a-format.md", "design.md", "engine.md", "benchmarks.md"):
            prose = re.sub(r"^```.*?^```", "", read(os.path.join(SOURCE, "docs", page)), flags=re.S | re.M)
            named = {word.rstrip("/") for word in re.findall(r"`([^`\n]+)`", prose)
                     if re.fullmatch(r"(?:[\w.-]+/)*\w+\.(?:cc|h|py)|(?:include|src|tests|fuzz|bench|tools|docs|scripts|cmake)/[\w./-]+", word)}
            self.assertTrue(named, page)
            for path in named:
                if "mine" in path or path == "docs/families/my.md":  # the one that is added
                    continue
                self.assertTrue(any(f"/{file}".endswith(f"/{path}") for file in there), f"{page}: {path}")

    def test_every_page_is_in_the_index_and_in_the_navigation(self):
        docs = os.path.join(SOURCE, "docs")
        pages = {os.path.relpath(page, docs) for page in PAGES[1:]}
        index = {os.path.normpath(target.partition("#")[0]) for target in links(os.path.join(docs, "README.md"))}
        self.assertEqual(pages - index, {"README.md"})
        with open(os.path.join(SOURCE, "mkdocs.yml"), encoding="utf-8") as file:
            named = re.findall(r": (?!api/)(\S+\.md)$", file.read(), re.M)  # api/: made of the headers
        self.assertEqual(sorted(named), sorted(pages))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
