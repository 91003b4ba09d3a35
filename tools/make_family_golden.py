#!/usr/bin/env python3
"""Families' .nemo files, as NeMo v2.0.0's converters wrote them, made small: every tensor's bytes are replaced in place
by a short pattern that differs between tensors, checksums with them; names, shapes, configs and the rest stay.

usage: make_family_golden.py OUT.tar.xz FAMILY.nemo...
"""
import hashlib
import io
import lzma
import os
import re
import struct
import sys
import tarfile
import zlib


def end_of_zip(data: bytearray, start: int, stop: int) -> int:
    """Where the zip at `start` has its last record: a zip inside of it has one too."""
    end = data.find(b"PK\5\6", start, stop)
    while end >= 0:
        size, at = struct.unpack_from("<II", data, end + 12)
        if data[start + at + size:start + at + size + 4] in (b"PK\5\6", b"PK\6\6"):
            return end
        end = data.find(b"PK\5\6", end + 4, stop)
    raise ValueError("no zip")


def patch_zip(data: bytearray, start: int, end_record: int) -> None:
    """Replaces the storages ("…/data/N") of the torch zip that begins at `start`."""
    entries, _, at = struct.unpack_from("<HII", data, end_record + 10)
    at += start
    for _ in range(entries):
        assert data[at:at + 4] == b"PK\1\2"
        crc, packed, plain, name_size, extra_size, comment_size = struct.unpack_from("<IIIHHH", data, at + 16)
        local = start + struct.unpack_from("<I", data, at + 42)[0]
        name = bytes(data[at + 46:at + 46 + name_size]).decode()
        local_name, local_extra = struct.unpack_from("<HH", data, local + 26)
        content = local + 30 + local_name + local_extra
        if re.search(r"/data/\d+$", name) and plain >= 64:
            pattern = hashlib.sha256(data[content:content + plain]).digest()[:16]
            # Exponents of ordinary numbers in every float format, so that no value is NaN or infinite.
            pattern = bytes(b & 0x3F if i % 2 else b for i, b in enumerate(pattern))
            data[content:content + plain] = (pattern * (plain // 16 + 1))[:plain]
            fresh = struct.pack("<I", zlib.crc32(data[content:content + plain]))
            data[at + 16:at + 20] = fresh
            if struct.unpack_from("<I", data, local + 14)[0] != 0:
                data[local + 14:local + 18] = fresh
            if data[content + plain:content + plain + 4] == b"PK\7\x08":
                data[content + plain + 4:content + plain + 8] = fresh
        at += 46 + name_size + extra_size + comment_size


def patch_nemo(path: str) -> bytes:
    data = bytearray(open(path, "rb").read())
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            if not member.name.endswith(".distcp"):
                continue
            start, stop = member.offset_data, member.offset_data + member.size
            while start < stop:  # one zip after another
                end = end_of_zip(data, start, stop)
                patch_zip(data, start, end)
                start = end + 22
    return bytes(data)


def main() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(sys.argv[2:]):
            data = patch_nemo(path)
            info = tarfile.TarInfo("families/" + os.path.basename(path))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with open(sys.argv[1], "wb") as f:
        f.write(lzma.compress(out.getvalue(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
