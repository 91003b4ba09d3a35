#!/usr/bin/env python3
"""What it costs that a source's bytes are compared with the CRCs that it records: the same torch file with its CRCs and without
(0, as torch's compute_crc32=False writes them), converted in turns, as it is (its checksums are taken over) and to bf16.

usage: source_crc.py --anemone ANEMONE --work FOLDER
"""

import json
import os
import resource
import struct
import zipfile

import measure


def write_safetensors(path, tensors, count):
    header = json.dumps({f"w{i}": {"dtype": "F32", "shape": [count], "data_offsets": [4 * count * i, 4 * count * (i + 1)]} for i in range(tensors)})
    window = os.urandom(1 << 20)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header.encode())
        for _ in range(tensors * 4 * count >> 20):
            file.write(window)


def forget_crcs(path):
    """Sets the CRC of each record of the zip to 0."""
    with zipfile.ZipFile(path) as archive, open(path, "r+b") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 14)
            file.write(bytes(4))
        at = archive.start_dir
        for _ in archive.infolist():
            file.seek(at)
            record = file.read(46)
            file.seek(at + 16)
            file.write(bytes(4))
            at += 46 + sum(struct.unpack_from("<HHH", record, 28))


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    arguments = measure.arguments(__doc__, tools=()).parse_args()
    rows, raw = [], {"machine": measure.machine()}
    with measure.folder(arguments.work) as folder:
        plain, with_crcs, without, out = (os.path.join(folder, name) for name in ("w.safetensors", "with.pt", "without.pt", "out.pt"))
        write_safetensors(plain, 64, 2 << 20)
        for path in (with_crcs, without):
            measure.run([arguments.anemone, "convert", plain, path, "--quiet"])
        forget_crcs(without)
        for what, words in (("as it is", []), ("to bf16", ["--dtype", "bf16"])):
            seconds, cpu = {}, {}
            for _ in range(arguments.rounds):
                for path in (with_crcs, without):
                    measure.warm(path)
                    before = used()
                    seconds.setdefault(path, []).append(measure.run([arguments.anemone, "convert", path, out, "--force", "--quiet", *words])[0])
                    cpu.setdefault(path, []).append(used() - before)
            for unit, values in (("elapsed", seconds), ("processor", cpu)):
                ratios = [a / b for a, b in zip(values[with_crcs], values[without])]
                raw[f"{what}, {unit}"] = ratios
                rows.append((f"{what}, {os.path.getsize(with_crcs) / 1e9:.2f} GB: {unit} time with CRCs / without",
                             f"{measure.median(ratios):.2f}× ({measure.spread(ratios)})", "", ""))
    print(measure.machine())
    measure.table(rows)
    measure.write_json(arguments.json, raw)


if __name__ == "__main__":
    main()
