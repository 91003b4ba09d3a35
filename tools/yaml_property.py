#!/usr/bin/env python3
"""Writes and reads generated configs with OmegaConf and with anemone, both ways, and compares every value.

    tools/yaml_property.py ANEMONE COUNT [SEED]          needs omegaconf; COUNT scalar values, in configs of about 2,000
    tools/yaml_property.py --golden FILE.jsonl COUNT     {"yaml": as OmegaConf.save wrote it, "json": the value}, a config a line

Each config goes OmegaConf.save → anemone → JSON, and OmegaConf.save → anemone → YAML → OmegaConf.load. What OmegaConf.load itself makes of
the file must come back, types included. Exit status 1 at the first config that does not.
"""
import io
import json
import math
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import yaml
from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader

PLAIN = "abcxyzABCXYZ0189"
ODD = " \t\n\r:#-?,[]{}&*!|>'\"%@`\\~=<>.+_/$\0\x07\x1b\x7f\x80\x85\xa0\u2028\u2029\ufeff\ufffe\ud7ff\ue000\u00e9\u65e5\U0001f600\U0010fffe"
WORDS = ["true", "No", "null", "~", "1e-5", "0x1F", "010", "1:30", ".inf", "nan", "-", "---", "...", "- a", "? a", "a: b", "a #b",
         "<<", "=", "2001-01-01", "${a.b}", "???", "word " * 30, "x" * 90 + " y z", "\n\n", "a\n\n", "\n a", " \n", "a\u2028 b", "\x85",
         "1_000", "0b1", "1__0", "+.5", "y", "off", "!x", "&x", "*x", "%YAML", "'", '"', "''", "\\n", "{}", "[]", "|", ">-"]


def text(rng):
    if rng.random() < 0.25:
        return rng.choice(WORDS)
    alphabet = rng.choice((PLAIN, PLAIN + ODD, ODD, " \n" + PLAIN, "0123456789.eE+-_:xbo"))
    length = rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 10, 13, 20, 30, 90)) if rng.random() < 0.99 else rng.randrange(400)
    word = "".join(rng.choice(alphabet) for _ in range(length))
    return word.replace("${", "$ {")


def scalar(rng):
    kind = rng.random()
    if kind < 0.7:
        return text(rng)
    if kind < 0.8:
        return rng.choice((0, 1, -1, rng.randrange(-2 ** 63, 2 ** 63), rng.randrange(-1000, 1000)))
    if kind < 0.93:
        return rng.choice((0.0, -0.0, 1e-5, 1e16, 1e300, math.inf, -math.inf, math.nan, rng.uniform(-1, 1), rng.uniform(-1e20, 1e20),
                           float(rng.randrange(100)), rng.random() * 10 ** rng.randrange(-300, 300)))
    return rng.choice((True, False, None))


def tree(rng, budget, depth=0, odd_keys=True):
    """A map or list of about `budget` scalars."""
    make_map = depth == 0 or rng.random() < 0.6
    items = []
    while budget > 0:
        if depth < 6 and rng.random() < 0.15:
            size = rng.choice((0, 1, 3, 10, 40))
            items.append(tree(rng, min(size, budget), depth + 1, odd_keys))
            budget -= max(size, 1)
        else:
            items.append(scalar(rng))
            budget -= 1
    if not make_map:
        return items
    return {(text(rng) if odd_keys and rng.random() < 0.3 else f"k{i}"): item for i, item in enumerate(items)}


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


def difference(a, b, where=""):
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        return next(d for k in a if (d := difference(a[k], b[k], f"{where}[{k!r}]")) is not None) if not same(a, b) else None
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next(d for i, (x, y) in enumerate(zip(a, b)) if (d := difference(x, y, f"{where}[{i}]")) is not None) if not same(a, b) else None
    if same(a, b):
        return None
    if isinstance(a, dict) and isinstance(b, dict):
        return f"{where}: keys {[k for k in a if k not in b][:3]!r} became {[k for k in b if k not in a][:3]!r}"
    return f"{where}: {a!r} became {b!r}"


def saved(value):
    """As OmegaConf.save writes it, without the containers of OmegaConf around each value, which take half of the time."""
    return yaml.dump(value, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=get_omega_conf_dumper())


def loaded(text):
    return yaml.load(text, Loader=get_yaml_loader())


# {"w": a tensor of one float32}, as torch.save pickles it.
PICKLE = (b"\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\1tQ"
          b"K\0K\1\x85K\1\x85\x89ccollections\nOrderedDict\n)RtRs.")


def nemo(path, text_of_config):
    """A .nemo of that config and a weight."""
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w") as file:
        file.writestr("archive/data.pkl", PICKLE)
        file.writestr("archive/data/0", bytes(4))
        file.writestr("archive/version", b"3\n")
    with tarfile.open(path, "w") as tar:
        for name, data in (("./model_config.yaml", text_of_config.encode()), ("./model_weights.ckpt", weights.getvalue())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def run(*words):
    done = subprocess.run(words, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stderr.decode()}")
    return done.stdout.decode()


def has_text_keys(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and has_text_keys(item) for key, item in value.items())
    return not isinstance(value, list) or all(map(has_text_keys, value))


def config(seed, budget):
    """The text OmegaConf saves and the value it loads from it; plain keys where it does not load the keys that it saved (it folds long
    odd ones, and `1._1E5` becomes a number)."""
    for odd_keys in (True, False):
        written = saved(tree(random.Random(seed), budget, 0, odd_keys))
        try:
            value = loaded(written)
            if has_text_keys(value):
                return written, value
        except Exception as error:
            if not odd_keys:
                raise error


def check(program, written, value, folder):
    nemo(folder / "a.nemo", written)
    (folder / "a.yaml").write_bytes(written.encode())
    read = json.loads(run(program, "inspect", str(folder / "a.nemo"), "--config", "--json"))
    again = run(program, "nemo", "megatron_clip_infer", "--config-path", str(folder), "--config-name", "a", "--cfg", "job")
    for what, got in (("read by anemone", read), ("written by anemone", loaded(again))):
        if not same(value, got):
            sys.exit(f"{what}: {difference(value, got)}\n(the config: {folder / 'a.yaml'})")
    return written == again


def main():
    if sys.argv[1] == "--golden":
        lines = []
        for seed in range(int(sys.argv[3]) // 10):
            written, value = config(seed, 10)
            lines.append(json.dumps({"yaml": written, "json": value}))
        pathlib.Path(sys.argv[2]).write_text("\n".join(lines) + "\n")
        return
    program, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    folder = pathlib.Path(tempfile.mkdtemp(prefix="yaml_property"))
    done = files = equal = 0
    while done < count:
        equal += check(program, *config(seed * 1_000_003 + files, 2000), folder)
        files += 1
        done += 2000
    print(f"{done} values in {files} configs came back; {equal} files are OmegaConf's byte for byte")


main()
