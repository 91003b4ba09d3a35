"""Fails where a function has more than 60 lines and no comment above it that says why: one that begins with "Long as"."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
MOST = 60
NO_FUNCTION = re.compile(r"(namespace|struct|class|enum|union|if|for|while|switch|else|do|case|return|using|typedef)\b|[#/}]")


def functions(lines):
    """First line, lines and whether a reason is given, of each function of a file that clang-format has seen."""
    at = 0
    while at < len(lines):
        indent = re.match(" *", lines[at])[0]
        end = at
        while end < min(at + 9, len(lines)) and not re.search(r"[{};]$", lines[end]):
            end += 1
        head = " ".join(lines[at:end + 1])
        if len(indent) > 2 or not lines[at].strip() or NO_FUNCTION.match(lines[at].strip()) or not head.endswith("{") or "(" not in head:
            at += 1
            continue
        last = next((i for i in range(end + 1, len(lines)) if lines[i].startswith(indent + "}")), end)
        comment = []
        for line in reversed(lines[:at]):
            if not line.strip().startswith("//"):
                break
            comment.append(line)
        yield at + 1, last - end - 1, any("Long as" in line for line in comment)
        at = last if indent == "" else end + 1


LONG = ["void F(int a,", "       int b) {", *["  g();"] * (MOST + 1), "}"]
assert list(functions(LONG)) == [(1, MOST + 1, False)]
assert list(functions(["// Long as it is data.", *LONG])) == [(2, MOST + 1, True)]

wrong, seen = [], 0
for source in sorted((root / "src").rglob("*")):
    if source.suffix not in (".h", ".cc"):
        continue
    for line, size, has_reason in functions(source.read_text().splitlines()):
        seen += 1
        if size > MOST and not has_reason:
            wrong.append(f"{source.relative_to(root)}:{line}: {size} lines: divide it, or say why above it: // Long as …")
print("\n".join(wrong) or f"{seen} functions, none longer than {MOST} lines without a reason")
sys.exit(1 if wrong or seen < 1000 else 0)
