"""Fails when the library names a flag of the command line: it names its options (Remedy, WrongOption), and each front
end spells them."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
FLAG = re.compile(r'"(?:[^"\\]|\\.)*--[a-z](?:[^"\\]|\\.)*"')
OTHERS = "tar --dereference"  # another program's


def names_a_flag(line):
    code = re.sub(r"^\s*//.*|\s//\s.*", "", line)
    return any(OTHERS not in text for text in FLAG.findall(code))


for line in ('return Corrupt("x", "--force replaces it");', 'fmt::format("--tp {}", tp)'):
    assert names_a_flag(line), line
for line in ('// "--force"', "--depth;", '"tar --dereference --hard-dereference"', '"a -- b"'):
    assert not names_a_flag(line), line

wrong = []
seen = 0
for source in sorted([*(root / "src").rglob("*"), *(root / "include").rglob("*")]):
    if source.suffix not in (".h", ".cc") or source.is_relative_to(root / "src/cli"):
        continue
    for number, line in enumerate(source.read_text().splitlines(), 1):
        seen += 1
        if names_a_flag(line):
            wrong.append(f"{source.relative_to(root)}:{number}: names a flag of the command line: {line.strip()}")
print("\n".join(wrong) or f"{seen} lines, none names a flag")
sys.exit(1 if wrong or seen == 0 else 0)
