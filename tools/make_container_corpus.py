#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus/{tar,zip,pickle,gzip}: small files by Python's own writers. Python 3 alone is needed.

Usage: tools/make_container_corpus.py [fuzz/corpus]
"""
import collections
import gzip
import io
import pathlib
import pickle
import sys
import tarfile
import zipfile


def tars():
    for name, fmt in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=fmt) as tar:
            tar.addfile(dir_info("./"))
            for path, data in (("./model_config.yaml", b"a: 1\n"), ("./" + "d" * 60 + "/" + "n" * 70, b"x")):
                info = tarfile.TarInfo(path)
                info.size = len(data)
                info.mtime = 1.5 if fmt == tarfile.PAX_FORMAT else 1
                tar.addfile(info, io.BytesIO(data))
        # Without most of the padding to 10240: fewer bytes to search.
        data = out.getvalue().rstrip(b"\0")
        yield name, data + b"\0" * (-len(data) % 512 + 1024)


def dir_info(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


class Unseekable(io.BytesIO):
    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation


def zips():
    for name, method, out in (
        ("stored", zipfile.ZIP_STORED, io.BytesIO()),
        ("deflated", zipfile.ZIP_DEFLATED, io.BytesIO()),
        ("streamed", zipfile.ZIP_DEFLATED, Unseekable()),
    ):
        with zipfile.ZipFile(out, "w", method) as z:
            z.writestr("archive/data.pkl", b"\x80\x02N.")
            z.writestr("archive/data/0", b"0123456789" * 20)
            with z.open("archive/version", "w", force_zip64=True) as member:
                member.write(b"3\n")
            z.comment = b"seed"
        yield name, out.getvalue()


class Thing:
    pass


def pickles():
    thing = Thing()
    thing.parent = thing
    cyclic = []
    cyclic.append(cyclic)
    objects = {
        "plain": {"a": [1, -2, 2.5, None, True, 2**70, "\u00e9"], "b": ("x", b"\xff"), "c": {1}, "d": frozenset([2])},
        "ordered": collections.OrderedDict([("w", bytearray(b"\0\1")), ("v", collections.deque([1, 2]))]),
        "object": thing,
        "cyclic": cyclic,
        "shared": [cyclic, cyclic, ("t", "t")],
        "types": [int, str, dict, print],
    }
    for name, value in objects.items():
        for protocol in (0, 2, 4, 5):
            yield f"{name}{protocol}", pickle.dumps(value, protocol)


def gzips():
    text = b"the quick brown fox " * 50
    yield "one", gzip.compress(text, mtime=0)
    yield "two", gzip.compress(text, mtime=0) + gzip.compress(b"more", mtime=0)
    yield "padded", gzip.compress(b"tape", mtime=0) + bytes(64)
    yield "empty", gzip.compress(b"", mtime=0)
    out = io.BytesIO()
    with gzip.GzipFile("named", "wb", 1, out, 0) as z:
        z.write(text)
        z.flush()
        z.write(text)
    yield "named", out.getvalue()


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "fuzz/corpus")
    for kind, seeds in (("tar", tars()), ("zip", zips()), ("pickle", pickles()), ("gzip", gzips())):
        (root / kind).mkdir(parents=True, exist_ok=True)
        for name, data in seeds:
            (root / kind / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
