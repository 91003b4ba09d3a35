#!/usr/bin/env python3
"""Adds the licences of the bundled shared libraries to a wheel or to a tarball's folder, as Debian states them, with a page that
lists them. To be run on the Debian machine that the libraries were taken from.

usage: carried_licences.py WHEEL       into anemone_nemo-*.dist-info/licenses/libraries/; needs the package `wheel`
       carried_licences.py FOLDER      into licenses/libraries/, of what is in lib/bundled/
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


def write_licences(libraries, root, licences):
    """A folder `licences` of the licences of `libraries`, which lie below `root`."""
    os.makedirs(licences)
    rows, files = [], system_libraries()
    for path in libraries:
        name = re.sub(r"-[0-9a-f]{8}(?=\.)", "", os.path.basename(path))  # auditwheel adds eight digits of a hash
        package, version, copyright_file = package_of(files[name])
        shutil.copyfile(copyright_file, os.path.join(licences, f"{package}.txt"))
        rows.append(f"| {os.path.relpath(path, root)} | {package} {version} | [{package}.txt]({package}.txt) |\n")
    with open(os.path.join(licences, "README.md"), "w") as page:
        page.write("# Bundled libraries\n\nThese files are Debian's. Only the folder in which each looks for the others was changed. Debian's statement of the\n"
                   "copyright and licence of each is beside this page. Sources: `apt-get source PACKAGE=VERSION`.\n\n"
                   "| file | Debian's package | licence |\n| --- | --- | --- |\n")
        page.writelines(rows)
    print(f"{root}: licences of {len(rows)} libraries")


def of_wheel(wheel):
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([sys.executable, "-m", "wheel", "unpack", "--dest", work, wheel], check=True, stdout=subprocess.DEVNULL)
        tree, = glob.glob(os.path.join(work, "*"))
        licences = os.path.join(glob.glob(os.path.join(tree, "*.dist-info"))[0], "licenses", "libraries")
        write_licences(sorted(glob.glob(os.path.join(tree, "*.libs", "*")) + glob.glob(os.path.join(tree, "anemone", "libraries", "*"))), tree, licences)
        subprocess.run([sys.executable, "-m", "wheel", "pack", "--dest-dir", os.path.dirname(wheel), tree], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    if sys.argv[1].endswith(".whl"):
        of_wheel(sys.argv[1])
    else:
        tree = sys.argv[1]
        write_licences(sorted(glob.glob(os.path.join(tree, "lib", "bundled", "*"))), tree, os.path.join(tree, "licenses", "libraries"))
