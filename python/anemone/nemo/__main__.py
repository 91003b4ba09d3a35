"""Lists NeMo's scripts and how Python runs them; with a script's name, only that; with its flags, too, runs it."""

import os
import sys

from anemone.__main__ import program
from anemone.nemo import SCRIPTS

HERE = os.path.dirname(os.path.abspath(__file__))


def words_of(name):
    """What Python is to be told: a file of the script's own, or this one and the script's name."""
    own = os.path.join(HERE, name + ".py")
    return own if os.path.exists(own) else f"{os.path.join(HERE, '__main__.py')} {name}"


def main():
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
