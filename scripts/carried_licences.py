#!/usr/bin/env python3
"""Puts the licences of the shared libraries that a wheel carries into it, as Debian states them, with a page that lists them.

usage: carried_licences.py WHEEL       on the Debian machine that the wheel was made on; needs the package `wheel`

anemone_nemo-*.dist-info/licenses/libraries/ gets README.md and a copyright file for each package of Debian that a library is of.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile


def output(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def system_libraries():
    """{soname, and name of the file that it links to: the file}."""
    files = {}
    for path in re.findall(r"=> (\S+)$", output("/sbin/ldconfig", "-p"), re.M):
        real = os.path.realpath(path)
        files.setdefault(os.path.basename(path), real)
        files.setdefault(os.path.basename(real), real)
    return files


def package_of(file):
    """(package, version, its copyright file) that the system's library is of; packages from before /usr was merged say /lib."""
    for path in (file, file.replace("/usr/lib/", "/lib/", 1)):
        found = subprocess.run(["dpkg", "-S", path], capture_output=True, text=True).stdout
        if found:
            package = found.split(":")[0]
            return package, output("dpkg-query", "-W", "-f", "${Version}\n", package).split()[0], f"/usr/share/doc/{package}/copyright"
    raise SystemExit(f"{file}: no package of Debian has it")


def main(wheel):
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([sys.executable, "-m", "wheel", "unpack", "--dest", work, wheel], check=True, stdout=subprocess.DEVNULL)
        tree, = glob.glob(os.path.join(work, "*"))
        licences = os.path.join(glob.glob(os.path.join(tree, "*.dist-info"))[0], "licenses", "libraries")
        os.makedirs(licences)
        rows, files = [], system_libraries()
        for path in sorted(glob.glob(os.path.join(tree, "*.libs", "*")) + glob.glob(os.path.join(tree, "anemone", "libraries", "*"))):
            name = re.sub(r"-[0-9a-f]{8}(?=\.)", "", os.path.basename(path))  # auditwheel adds eight digits of a hash
            package, version, copyright_file = package_of(files[name])
            shutil.copyfile(copyright_file, os.path.join(licences, f"{package}.txt"))
            rows.append(f"| {os.path.relpath(path, tree)} | {package} {version} | [{package}.txt]({package}.txt) |\n")
        with open(os.path.join(licences, "README.md"), "w") as page:
            page.write("# Libraries in this wheel\n\nEach is unchanged from Debian, whose statement of its copyright and licence lies beside this page.\n"
                       "Their sources: `apt-get source PACKAGE=VERSION`.\n\n| file | Debian's package | licence |\n| --- | --- | --- |\n")
            page.writelines(rows)
        subprocess.run([sys.executable, "-m", "wheel", "pack", "--dest-dir", os.path.dirname(wheel), tree], check=True, stdout=subprocess.DEVNULL)
    print(f"{wheel}: licences of {len(rows)} libraries")


if __name__ == "__main__":
    main(sys.argv[1])
