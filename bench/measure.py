"""What the benchmarks share: one timed process, medians, a table. Standard library only; a child's peak memory starts at its
parent's, so this process stays small."""

import argparse
import contextlib
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time


DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models", "demo-clip")


def arguments(doc, tools=("make-checkpoint",), work="a folder on the disk to measure"):
    """The flags that every benchmark has; the caller adds its own."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anemone", required=True)
    for tool in tools:
        parser.add_argument("--" + tool, required=True)
    parser.add_argument("--work", required=True, help=work)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    return parser


@contextlib.contextmanager
def folder(inside):
    """A folder that is gone afterwards."""
    os.makedirs(inside, exist_ok=True)
    path = tempfile.mkdtemp(prefix="bench-", dir=inside)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def run(argv, environment=None, stdout=subprocess.DEVNULL):
    """Runs a program; returns (seconds, peak resident KiB). Stops the benchmark when it fails."""
    start = time.perf_counter()
    used = usage(argv, environment, stdout)
    return time.perf_counter() - start, used.ru_maxrss


def usage(argv, environment=None, stdout=subprocess.DEVNULL):
    """Runs a program; returns its resource usage. Stops the benchmark when it fails."""
    process = subprocess.Popen(argv, stdout=stdout, env={**os.environ, **(environment or {})})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(argv)}: exit {process.returncode}")
    return used


def fsync(path):
    """As durable as what it is compared with."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def copying(source, target):
    """`cp`, as durable as what it is compared with: (seconds, peak KiB)."""
    seconds, peak = run(["cp", source, target])
    start = time.perf_counter()
    fsync(target)
    return seconds + time.perf_counter() - start, peak


def device(path, size, threads=2, window=1 << 20):
    """What two threads need to write so many bytes past the page cache (O_DIRECT), then fsync: the device's limit. (seconds, 0)."""
    buffer = mmap.mmap(-1, window)
    buffer.write(os.urandom(window))
    start = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644)
    os.posix_fallocate(fd, 0, size)

    def write(first):
        for offset in range(first * window, size, threads * window):
            os.pwrite(fd, buffer, offset)  # the last window writes more than is asked for: direct writes are of whole blocks

    workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.fsync(fd)
    os.close(fd)
    return time.perf_counter() - start, 0


def warm(path):
    """Brings a file into the page cache."""
    with open(path, "rb", buffering=0) as file:
        window = bytearray(1 << 20)
        while file.readinto(window):
            pass


def cool(path):
    """Drops a file from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def _free_bytes():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemFree:"))


# Holds argv[1] bytes of touched memory until its standard input ends.
_HOLD = """
import mmap, sys
size = max(int(sys.argv[1]), mmap.PAGESIZE)
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(23)  # MADV_POPULATE_WRITE
print(flush=True)
sys.stdin.read()
"""


def _hold(size):
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


class Ground:
    """The same start for every contestant. A virtual machine's host takes free pages back after a second or two, and the
    first write to such a page costs several times as much as to another: whoever follows a process that freed much memory
    would win. So most of the free memory is held for as long as this object lives, and the rest, `room` bytes, is touched
    just before each start."""

    def __init__(self, room):
        self._held = _hold(_free_bytes() - room)  # ends when our end of its pipe is gone

    def settle(self):
        os.sync()  # earlier writes have reached the disk: no one pays for another's
        _hold(_free_bytes() - (256 << 20)).communicate()


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):.3g} … {max(values):.3g}"


def machine():
    model, flags = "", ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name") and not model:
                model = line.split(":", 1)[1].strip()
            if line.startswith("flags") and not flags:
                flags = "AVX-512" if " avx512f" in line else "AVX2" if " avx2" in line else "no AVX2"
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2 ** 20
    return f"{os.cpu_count()} cores ({model}, {flags}), {memory:.0f} GiB memory, Linux {os.uname().release}"


def table(rows):
    """[(what, figure, bound or '', verdict or '')] as Markdown."""
    print("| what | measured | bound | |\n|---|---|---|---|")
    for what, figure, bound, verdict in rows:
        print(f"| {what} | {figure} | {bound} | {verdict} |")


def within(value, bound):
    return "yes" if value <= bound else "**no**"


def against_cp(runs, path):
    """{contestant: [(seconds, peak KiB)]}, "cp" among them: prints medians beside cp's, writes them to `path` as JSON. (seconds, peaks)."""
    seconds = {name: median([r[0] for r in these]) for name, these in runs.items()}
    peaks = {name: max(r[1] for r in these) for name, these in runs.items()}
    for name in runs:
        print(f"{name}: {seconds[name]:.2f} s, {seconds[name] / seconds['cp']:.2f} of cp, {peaks[name] / 1024:.0f} MiB")
    write_json(path, {name: {"seconds": seconds[name], "peak_kib": peaks[name]} for name in runs})
    return seconds, peaks


def write_json(path, value):
    if path:
        with open(path, "w") as file:
            json.dump(value, file, indent=2)
            file.write("\n")
