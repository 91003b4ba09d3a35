"""`python -m anemone …` is the anemone program."""

import sys


def program(*words):
    """Runs the program with these words and the command line's; answers its exit status."""
    from anemone import _c
    sys.stdout.flush()  # what was printed so far comes before what the program prints
    return _c.main(["anemone", *words, *sys.argv[1:]])


def console():
    """The `anemone` that pip installs."""
    sys.exit(program())


if __name__ == "__main__":
    console()
