"""Fails when code outside src/format compares the name of a format or of a flavour: FormatTraits says what differs.

A name may be given to FindFormat, or be a default; what one branches on is a trait (src/format/format.h)."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
names = {"deepspeed"}
for source in sorted((root / "src/format").rglob("*.cc")):
    text = source.read_text()
    names.update(re.findall(r'\.name = "([^"]+)"', text))
    names.update(word for line in re.findall(r"flavour = [^;]*;", text) for word in re.findall(r'"([^"]+)"', line))
    aliases = re.search(r"kAliases\[\] = \{(.*?)\n\};", text, re.DOTALL)
    names.update(re.findall(r'\{"([^"]+)"', aliases[1]) if aliases else [])
assert {"nemo", "nemo2", "hf", "lightning", "huggingface", "torchscript", "pt"} <= names, names

name = '"(?:' + "|".join(map(re.escape, sorted(names))) + ')[-_.]?"(?:sv)?'
# What holds such a name; a config's value of the same spelling is another thing.
holder = r"\b(?:name|flavour|format|dialect|to)\b"
COMPARES = re.compile(
    rf"{holder} ?[!=]= ?{name}|{name} ?[!=]= ?[\w.>-]*{holder}|{holder}\.(?:\w+_with|contains|compare|r?find)\({name}"
    r"|flavour ?[!=]=|[!=]= ?[\w.>-]*flavour\b|flavour\.\w+_with"
)


def compares(line):
    return COMPARES.search(line) is not None


for line in ('if (format.name == "nemo2") {', 'return "hf" != dialect;', 'name.starts_with("nemo")', "if (a.flavour == b) {",
             'flavour.ends_with("x")', 'return open || dialect == "openclip";'):
    assert compares(line), line
for line in ('FindFormat("nemo")', 'to = "nemo";', 'a.flavour = "hf";', 'Text(checkpoint.flavour)',
             'library->AsString() == "huggingface"'):
    assert not compares(line), line

wrong = []
seen = 0
for source in sorted((root / "src").rglob("*")):
    if source.suffix not in (".h", ".cc") or source.is_relative_to(root / "src/format"):
        continue
    for number, line in enumerate(source.read_text().splitlines(), 1):
        seen += 1
        if compares(line.split("//")[0]):
            wrong.append(f"{source.relative_to(root)}:{number}: compares a format's name: {line.strip()}")
print("\n".join(wrong) or f"{seen} lines, none compares a format's name")
sys.exit(1 if wrong or seen == 0 else 0)
