"""anemone scan on files that reach code and on harmless ones: all of the first are flagged, at most 13 in 174 of the second.

usage: scan_test.py ANEMONE
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile

import samples


def flagged(anemone, folder):
    """The paths with a finding that is not inert."""
    done = subprocess.run([anemone, "scan", "--json", folder], stdout=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode in (0, 1), done.returncode
    return [f for f in json.loads(done.stdout)["findings"] if f["danger"] != "inert"]


def is_in(path, finding):
    # A broken archive is named in the message.
    return finding["file"].startswith(path) or finding["name"].startswith(path)


def check_storages(anemone, folder):
    """Numbers that begin like a name from a registry are none in a torch file, and count where they lie alone."""
    place = pathlib.Path(folder) / "storages"
    place.mkdir()
    codes = [b"\x82\x01.", b"\x83\x01\x02.", b"\x84\x01\x02\x03\x04.", b"\x82\xc8" + bytes(range(200, 256))]
    for i, code in enumerate(codes):
        (place / f"{i}.bin").write_bytes(code)
        samples.torch.save({"w": samples.torch.tensor(list(code), dtype=samples.torch.uint8)}, place / f"{i}.pt")
    assert sorted({finding["file"] for finding in flagged(anemone, str(place))}) == [str(place / f"{i}.bin") for i in range(len(codes))]


def check_disguised(anemone, folder):
    """Each is flagged by itself; what only begins like them is not."""
    place = pathlib.Path(folder) / "disguised"
    for name, content in samples.disguised():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        assert flagged(anemone, str(path)), name
    for name, content in {"zeros.pt": bytes(1 << 20), "zeros_first.pt": bytes(1000) + bytes(range(256)), "a/config.yaml": b"a: 1\nc:\n- x\n",
                          "peft/adapter_config.json": b'{"auto_mapping": {"parent_library": "transformers.models.bert"}}'}.items():
        path = place / "harmless" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        assert not flagged(anemone, str(path)), name


def check_joblib(anemone, folder):
    """joblib's arrays are harmless; whatever joblib or pickle would make of the bytes around them is found."""
    for kind, group in (("harmless", samples.joblib_harmless()), ("reaching", samples.joblib_reaching())):
        place = pathlib.Path(folder) / "joblib" / kind
        place.mkdir(parents=True)
        names = set()
        for name, content in group:
            (place / name).write_bytes(content)
            names.add(name)
        found = {pathlib.Path(finding["file"]).name for finding in flagged(anemone, str(place))}
        expected = names if kind == "reaching" else set()
        assert found == expected, (kind, sorted(found ^ expected))


def main():
    anemone = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        truth = samples.write(folder)
        findings = flagged(anemone, folder)
        named = set()
        for finding in findings:
            for text in (finding["file"], finding["name"].split(": ")[0]):
                parts = text.split("/")
                named.update("/".join(parts[:i]) for i in range(1, len(parts) + 1))
        table = collections.Counter((reaches, path in named) for path, reaches in truth.items())
        print("reach code: %d of %d flagged" % (table[True, True], table[True, True] + table[True, False]))
        print("harmless:   %d of %d flagged" % (table[False, True], table[False, True] + table[False, False]))
        missed = [path for path, reaches in truth.items() if reaches and path not in named]
        wrong = [path for path, reaches in truth.items() if not reaches and path in named]
        for path in missed:
            print("missed:", path[len(folder) + 1:])
        for path in wrong:
            print("flagged though harmless:", path[len(folder) + 1:], [f["name"] for f in findings if is_in(path, f)][:2])
        check_storages(anemone, folder)
        check_disguised(anemone, folder)
        check_joblib(anemone, folder)
        assert not missed
        assert len(wrong) * 174 <= 13 * (table[False, True] + table[False, False])


main()
