"""Lists NeMo's scripts and how Python runs them; with a script's name, only that; with its flags, too, runs it.

`--tree DIR` writes them where NeMo v2.0.0's source has them, so that the lines of its documentation run as they are.
"""

import os
import sys

from anemone.__main__ import program
from anemone.nemo import SCRIPTS

HERE = os.path.dirname(os.path.abspath(__file__))


def words_of(name):
    """What Python is to be told: a file of the script's own, or this one and the script's name."""
    own = os.path.join(HERE, name + ".py")
    return own if os.path.exists(own) else f"{os.path.join(HERE, '__main__.py')} {name}"


CLIP = "examples/multimodal/vision_language_foundation/clip"
LANGUAGE = "examples/nlp/language_modeling"
FOLDERS = {
    "convert_ckpt_to_nemo": "examples/multimodal",
    "convert_external_clip_to_nemo": CLIP,
    "megatron_change_num_partitions": LANGUAGE,
    "megatron_ckpt_to_nemo": LANGUAGE,
    "megatron_clip_imagenet_zeroshot": CLIP,
    "megatron_clip_infer": CLIP,
}
SCRIPT = '"""NeMo\'s {name}, run by anemone."""\n\nfrom anemone.nemo import run\n\nrun(__name__, __file__)\n'


def lay_out(folder):
    """All scripts below `folder`. A file that is there and another is an error, and nothing is written then."""
    files = {}
    for name in SCRIPTS:
        below = FOLDERS.get(name, "scripts/checkpoint_converters")
        files[os.path.join(folder, below, name + ".py")] = SCRIPT.format(name=name)
    for path, text in files.items():
        if os.path.lexists(path):
            with open(path, encoding="utf-8") as file:
                if file.read() == text:
                    continue
            print(f"anemone: {path}: already exists, and is another file\nhint: choose another folder", file=sys.stderr)
            return 73
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    print(f"wrote {len(files)} scripts below {folder}")
    return 0


def main():
    if sys.argv[1:2] == ["--tree"]:
        if len(sys.argv) == 3:
            return lay_out(sys.argv[2])
        print("anemone: --tree: expected a folder\nhint: python -m anemone.nemo --tree DIR", file=sys.stderr)
        return 64
    asked = [os.path.basename(word)[:-3] if word.endswith(".py") and at == 0 else word for at, word in enumerate(sys.argv[1:])]
    if asked[:1] == ["llm"] or len(asked) > 1 and asked[0] in SCRIPTS and (asked[1].startswith("-") or "=" in asked[1]):
        sys.argv[1:] = asked
        return program("nemo")
    for name in asked:
        name = name[:-3] if name.endswith(".py") else name
        if name not in SCRIPTS:
            print(f"anemone: no script '{name}'\nhint: python -m anemone.nemo lists them", file=sys.stderr)
            return 64
        print(words_of(name))
    if not asked:
        width = max(len(words_of(name)) for name in SCRIPTS) + 2
        for name, summary in SCRIPTS.items():
            print(f"{words_of(name):{width}}{summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
