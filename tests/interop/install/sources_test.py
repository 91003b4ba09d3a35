"""What a source distribution holds is all that its build reads: the sources that are not excluded are configured, and the
build is tried without running it.

usage: sources_test.py SOURCE_DIR
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1])
PROJECT = (SOURCE / "pyproject.toml").read_text(encoding="utf-8")


def names_in(key):
    """The strings of a list in pyproject.toml; Python before 3.11 has no tomllib."""
    return re.findall(r'"([^"]+)"', re.search(rf"^{re.escape(key)} = \[(.*)\]", PROJECT, re.M).group(1))


def main():
    excluded = [*names_in("sdist.exclude"), "build", ".git"]
    with tempfile.TemporaryDirectory() as folder:
        tree, build = pathlib.Path(folder) / "tree", pathlib.Path(folder) / "build"

        def ignore(where, names):
            inside = pathlib.Path(where).relative_to(SOURCE)
            return [name for name in names if str(inside / name) in excluded or name == "__pycache__"]

        shutil.copytree(SOURCE, tree, ignore=ignore, symlinks=True)
        defines = re.findall(r'^(ANEMONE_\w+) = "(\w+)"', PROJECT, re.M)
        subprocess.run(["cmake", "-S", tree, "-B", build, "-G", "Ninja", *(f"-D{name}={value}" for name, value in defines)],
                       check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run(["ninja", "-C", build, "-n", *names_in("build.targets")], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout[-1000:] + done.stderr)
        print(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
