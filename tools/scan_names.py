#!/usr/bin/env python3
"""Lists what checkpoints name of the frameworks that write them: what `anemone scan` takes for inert.

usage: scan_names.py CLONE=PATH[,PATH…]=TAG[,TAG…] … > src/check/scan_classes.inc

CLONE is a git directory, PATH a package in it (src/lightning: the package `lightning`). Listed are classes, and the
functions that NeMo 2's configs hold (steps, layer specs, activations), under the module that defines them and under
every package that imports them by name. What comes from elsewhere (subprocess.Popen, pathlib.Path) is not listed,
nor what no checkpoint names.
"""
import ast
import collections
import re
import subprocess
import sys
import warnings

warnings.simplefilter("ignore")


# Programs, servers and tools of the same packages.
SKIPPED = re.compile(
    r"(^|\.)(cli|app|deploy|export|tests?|testing|scripts|store|examples|package_info|debug\w*|profiler\w*|servers?|"
    r"text_generation_server|rl|resiliency|fault_tolerance|run|lightning_run|__main__|launchers|_graveyard|jax|paddle|resharding)(\.|$)"
    r"|^nemo\.utils|^nemo\.collections\.(llm|vlm)\.(recipes|api|tools)|rpc|inference\.|launch")
FUNCTIONS = re.compile(r"_(layer_spec|data_step|forward_step)$|^(quick_gelu|openai_gelu|erf_gelu|squared_relu|fast_gelu)$")


def sources(clone, package, tag):
    """Yields (dotted module, is a package, text) of every Python file below `package` at `tag`."""
    git = ["git", "--git-dir", clone]
    root = package.rpartition("/")[0]
    listed = subprocess.run(git + ["ls-tree", "-r", tag, package], capture_output=True, text=True).stdout.splitlines()
    wanted = []
    for line in listed:
        info, path = line.split("\t", 1)
        if path.endswith(".py"):
            wanted.append((info.split()[2], path))
    batch = subprocess.Popen(git + ["cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for blob, path in wanted:
        batch.stdin.write(blob.encode() + b"\n")
        batch.stdin.flush()
        head = batch.stdout.readline().split()
        if len(head) < 3:
            continue
        text = batch.stdout.read(int(head[2]))
        batch.stdout.read(1)
        dotted = path[len(root) + 1 if root else 0:-3].replace("/", ".")
        is_package = dotted.endswith(".__init__")
        yield (dotted[: -len(".__init__")] if is_package else dotted), is_package, text
    batch.stdin.close()
    batch.wait()


def statements(body):
    """The statements that run when a module is imported, those below `if` and `try` among them."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler, ast.With)):
                yield from statements(getattr(node, field, []))


def read(module, is_package, text, classes, imports):
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in statements(tree.body):
        if isinstance(node, ast.ClassDef):
            classes.add((module, node.name))
        elif isinstance(node, ast.FunctionDef) and FUNCTIONS.search(node.name):
            classes.add((module, node.name))
        elif isinstance(node, ast.ImportFrom) and is_package:
            base = module.split(".") if is_package else module.split(".")[:-1]
            base = base[: len(base) - (node.level - 1)] if node.level else []
            source = ".".join(base + ([node.module] if node.module else []))
            for alias in node.names:
                imports[module].append((source, alias.name, alias.asname or alias.name))


def resolve(classes, imports):
    """Adds the names by which modules import classes, until nothing is new."""
    by_module = collections.defaultdict(set)
    for module, name in classes:
        by_module[module].add(name)
    changed = True
    while changed:
        changed = False
        for module, entries in imports.items():
            for source, name, alias in entries:
                names = by_module[source] if name == "*" else {name} & by_module[source]
                new = ({alias} if name != "*" and names else set(names)) - by_module[module]
                if new:
                    by_module[module] |= new
                    changed = True
    return by_module


def main():
    total = collections.defaultdict(set)
    for argument in sys.argv[1:]:
        clone, packages, tags = argument.split("=")
        for tag in tags.split(","):
            classes, imports = set(), collections.defaultdict(list)
            for package in packages.split(","):
                for module, is_package, text in sources(clone, package, tag):
                    read(module, is_package, text, classes, imports)
            for module, names in resolve(classes, imports).items():
                if not SKIPPED.search(module):
                    total[module] |= names
    print("// Made by tools/scan_names.py; see there. {module, names}, sorted.")
    for module in sorted(total):
        if total[module]:
            print('{"%s", "%s"},' % (module, " ".join(sorted(total[module]))))


main()
