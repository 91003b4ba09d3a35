"""Fails when a fact that has one place in src/ is written down in another, too."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
FACTS = {  # what writes it down: its place
    r"directory_iterator": (),  # base/tree.h lists folders; std::filesystem's iterators end the process without memory
    r'"PK\\x0|0x0[1-8]0[1-8]4b50': ("container/zip_format.h", "check/scan.cc"),  # scan names a part of a zip on several disks
    r'[!=]= ?"\.\."': ("base/safe_path.cc", "base/directory.cc", "base/sys.cc", "container/tar.cc", "engine/commit.cc"),
    r'"ustar': ("container/tar_format.h",),
    # What a file says has a hash that no file can make collide.
    r"std::hash<|std::unordered_(map|set)<(std::string|std::string_view|u?int\d+_t|size_t)\b": ("base/text_hash.h", "container/zip.cc"),  # zip: without regard to case
}

for line, fact in (('for (fs::directory_iterator it(a); ;)', 0), (r'head.starts_with("PK\x03\x04")', 1),
                   ('constexpr uint32_t kEnd = 0x06054b50;', 1), ('if (part == "..") return;', 2),
                   ("std::unordered_map<std::string, int> a;", 4)):
    assert re.search(list(FACTS)[fact], line), line

wrong = []
found = {fact: set() for fact in FACTS}
for source in sorted((root / "src").rglob("*")):
    if source.suffix not in (".h", ".cc"):
        continue
    name = str(source.relative_to(root / "src"))
    for number, line in enumerate(source.read_text().splitlines(), 1):
        for fact, places in FACTS.items():
            if re.search(fact, re.sub(r"^\s*//.*|\s//\s.*", "", line)):
                found[fact].add(name)
                if name not in places:
                    wrong.append(f"src/{name}:{number}: written in {' and '.join(places) or 'no file'} only: {line.strip()}")
for fact, places in FACTS.items():
    wrong += [f"src/{place}: no longer holds {fact}: take it off the list" for place in places if place not in found[fact]]
print("\n".join(wrong) or f"{len(FACTS)} facts, each in its place")
sys.exit(1 if wrong else 0)
