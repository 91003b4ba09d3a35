"""Lists NeMo's scripts and where they lie; with a script's name, only its path."""

import os
import sys

from anemone.nemo import SCRIPTS


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    asked = sys.argv[1:]
    for name in asked:
        name = name[:-3] if name.endswith(".py") else name
        if name not in SCRIPTS:
            print(f"anemone: no script '{name}'\nhint: python -m anemone.nemo lists them", file=sys.stderr)
            return 64
        print(os.path.join(here, name + ".py"))
    if not asked:
        width = max(len(os.path.join(here, name)) for name in SCRIPTS) + 5
        for name, summary in SCRIPTS.items():
            print(f"{os.path.join(here, name + '.py'):{width}}{summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
