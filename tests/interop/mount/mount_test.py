"""anemone mount: what convert would write, read by other people's code through the kernel.

usage: mount_test.py ANEMONE GOLDEN_DIR [unittest's arguments]
Exit status 77 where nothing can be mounted.
"""

import concurrent.futures
import errno
import filecmp
import itertools
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import unittest
import zipfile

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "testing"))
from folder_case import FolderCase  # noqa: E402

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "remote", "remote_server.py")
ANEMONE, GOLDEN = (os.path.abspath(path) for path in sys.argv[1:3])


def golden(path):
    return os.path.join(GOLDEN, path)


def run(*arguments):
    return subprocess.run([ANEMONE, *arguments], capture_output=True, text=True)


def same(left, right):
    """Whether two folders hold the same names and bytes."""
    compared = filecmp.dircmp(left, right)
    if compared.left_only or compared.right_only or compared.funny_files:
        return False
    files = filecmp.cmpfiles(left, right, compared.common_files, shallow=False)
    return not files[1] and not files[2] and all(same(os.path.join(left, name), os.path.join(right, name))
                                                 for name in compared.common_dirs)


class Mount(FolderCase):
    def setUp(self):
        super().setUp()
        self.view = self.path("view dir")
        os.mkdir(self.view)

    def tearDown(self):
        run("unmount", self.view)
        super().tearDown()

    def mount(self, *arguments):
        result = run("mount", *arguments, self.view)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def wait_for_view(self, process):
        while not os.listdir(self.view):
            self.assertIsNone(process.poll(), "it ended before it mounted")
            time.sleep(0.01)

    def unmount(self):
        result = run("unmount", self.view)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(os.listdir(self.view), [])

    def convert(self, source, name, *arguments):
        result = run("convert", source, self.path(name), "--reflink", "never", *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return self.path(name)

    def test_every_format_is_as_convert_writes_it(self):
        for source, words in (("clip/mcore.nemo", ["--to", "hf"]), ("clip/hf", ["--to", "nemo", "--tp", "2"]),
                              ("clip/hf", ["--to", "nemo", "--no-crc32"]), ("clip/hf", ["--to", "ckpt", "--tp", "2"]),
                              ("decoders/llama/hf", ["--to", "nemo2"]), ("decoders/llama/hf", ["--to", "torch_dist"]),
                              ("clip/mcore_tp2.nemo", ["--tp", "1"])):
            with self.subTest(source, words=words):
                self.mount(golden(source), *words)
                to = [] if "--to" in words else ["--to", "nemo"]
                written = self.convert(golden(source), "written", *to, *words)
                if os.path.isdir(written):
                    self.assertTrue(same(self.view, written))
                    shutil.rmtree(written)
                else:
                    name, = os.listdir(self.view)
                    self.assertTrue(filecmp.cmp(os.path.join(self.view, name), written, shallow=False))
                    os.remove(written)
                self.unmount()

    def test_torch_zipfile_and_tarfile_read_it(self):
        self.mount(golden("clip/hf"), "--to", "nemo")
        nemo = os.path.join(self.view, "hf.nemo")
        with tarfile.open(nemo) as archive:
            weights = archive.extractfile("./model_weights.ckpt")
            with zipfile.ZipFile(weights) as members:
                self.assertIsNone(members.testzip(), "every CRC is right")
            weights.seek(0)
            self.assertEqual(len(torch.load(weights)), 94, "tensors and extra states")

    def test_several_readers_at_once_and_memory_maps(self):
        self.mount(golden("clip/hf"), "--to", "pytorch")
        name, = os.listdir(self.view)
        written = self.convert(golden("clip/hf"), "written.pt")
        with open(written, "rb") as file:
            expected = file.read()

        def read(worker):
            with open(os.path.join(self.view, name), "rb") as file:
                if worker % 2:
                    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                        return bytes(mapped[::1])
                file.seek(worker * 1000)
                return expected[:worker * 1000] + file.read()

        with concurrent.futures.ThreadPoolExecutor(8) as readers:
            self.assertTrue(all(got == expected for got in readers.map(read, range(16))))

    def test_nothing_can_be_changed(self):
        self.mount(golden("clip/mcore.nemo"), "--to", "hf")
        config = os.path.join(self.view, "config.json")
        for change in (lambda: open(config, "w"), lambda: os.remove(config), lambda: os.mkdir(os.path.join(self.view, "x")),
                       lambda: os.chmod(config, 0o666)):
            with self.assertRaises(OSError) as raised:
                change()
            self.assertEqual(raised.exception.errno, errno.EROFS)
        self.assertEqual(os.stat(config).st_mode & 0o777, 0o444)

    def test_a_source_that_changes_is_an_error(self):
        source = self.path("clip.nemo")
        shutil.copyfile(golden("clip/mcore.nemo"), source)
        self.mount(source, "--to", "hf")
        weights = os.path.join(self.view, "model.safetensors")
        with open(weights, "rb") as file:
            self.assertEqual(len(file.read(100)), 100)
        with open(source, "r+b") as file:
            file.seek(200000)
            file.write(b"other")
        time.sleep(1.1)
        with self.assertRaises(OSError) as raised:
            open(weights, "rb").close()
        self.assertEqual(raised.exception.errno, errno.EIO)

    def test_no_memory_while_it_serves(self):
        """Reads are right or fail, and the process ends by itself: nothing is left mounted."""
        with open(ANEMONE, "rb") as program:
            if b"__asan_init" in program.read():
                self.skipTest("AddressSanitizer's malloc cannot be replaced")
        written = self.convert(golden("clip/mcore.nemo"), "written", "--to", "hf")
        preloaded, once = self.path("no_memory.so"), self.path("once")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "cli", "no_memory.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", preloaded, source, "-ldl"], check=True)
        for at in (0, 1, 4, 5, 20, 22, 36, 100):
            process = subprocess.Popen([ANEMONE, "mount", "-f", golden("clip/mcore.nemo"), "--to", "hf", self.view], stderr=subprocess.DEVNULL,
                                       env={**os.environ, "LD_PRELOAD": preloaded, "NO_MEMORY_FOR": "", "NO_MEMORY_AT": str(at), "NO_MEMORY_ONCE": once})
            self.wait_for_view(process)
            open(once, "w").close()
            for name in os.listdir(written):
                try:
                    with open(os.path.join(self.view, name), "rb") as file:
                        read = file.read()
                except OSError as error:
                    # libfuse ends a mount that it has no memory for.
                    self.assertIn(error.errno, (errno.ENOMEM, errno.ECONNABORTED, errno.ENOTCONN, errno.ENOENT), name)
                else:
                    with open(os.path.join(written, name), "rb") as file:
                        self.assertEqual(read, file.read(), name)
            run("unmount", self.view)
            self.assertIn(process.wait(10), (0, 71, 74), at)
            self.assertFalse(os.path.ismount(self.view))
            os.remove(once)

    def test_no_read_has_bytes_of_two_versions(self):
        source = self.path("clip.nemo")
        shutil.copyfile(golden("clip/mcore.nemo"), source)
        os.utime(source, (0, 0))
        self.mount(source, "--to", "hf")
        with open(os.path.join(self.view, "model.safetensors"), "rb", buffering=0) as weights:
            weights.read(10)
            with open(source, "r+b") as file:
                file.seek(-200000, os.SEEK_END)
                file.write(b"other")
            with self.assertRaises(OSError) as raised:
                weights.seek(-100000, os.SEEK_END)
                weights.read(10)
            self.assertEqual(raised.exception.errno, errno.EIO)

    def test_an_unread_stderr_holds_up_no_reader(self):
        """Each read that fails says why: to a pipe that is full."""
        source = self.path("clip.nemo")
        shutil.copyfile(golden("clip/mcore.nemo"), source)
        process = subprocess.Popen([ANEMONE, "mount", "-q", "-f", source, self.view, "--to", "hf"], stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.wait_for_view(process)
        os.truncate(source, 100000)
        time.sleep(1.1)
        endless = "import sys\nfor i in range(2000):\n try: open(sys.argv[1])\n except OSError: pass"
        reader = subprocess.Popen([sys.executable, "-c", endless, os.path.join(self.view, "config.json")])
        self.addCleanup(reader.kill)
        self.assertEqual(reader.wait(60), 0)
        self.unmount()
        said = process.communicate(timeout=10)[1].decode()
        self.assertIn("/config.json: " + source + ": changed while it was read", said)

    def test_two_mounts_at_once(self):
        """One is refused, whichever: neither hides the other."""
        for _ in range(5):
            runs = [subprocess.Popen([ANEMONE, "mount", "-q", golden("clip/mcore.nemo"), self.view, "--to", "hf"], stderr=subprocess.DEVNULL)
                    for _ in range(4)]
            self.assertEqual(sorted(run.wait() for run in runs), [0, 73, 73, 73])
            self.unmount()

    def test_a_killed_mount_is_cleaned_up(self):
        process = subprocess.Popen([ANEMONE, "mount", "-q", "-f", golden("clip/mcore.nemo"), self.view, "--to", "hf"])
        self.wait_for_view(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        result = run("mount", golden("clip/mcore.nemo"), self.view, "--to", "hf")
        self.assertEqual(result.returncode, 73, result.stderr)
        self.assertIn("hint: anemone unmount removes it", result.stderr)
        self.unmount()

    def test_a_killed_reader_hurts_nothing(self):
        expected = self.convert(golden("clip/mcore.nemo"), "expected", "--to", "hf")
        self.mount(golden("clip/mcore.nemo"), "--to", "hf")
        weights = os.path.join(self.view, "model.safetensors")
        for _ in range(3):
            endless = "import sys\nwhile True: print(len(open(sys.argv[1], 'rb').read()), flush=True)"
            reader = subprocess.Popen([sys.executable, "-c", endless, weights], stdout=subprocess.PIPE)
            for _ in range(3):
                self.assertEqual(int(reader.stdout.readline()), os.path.getsize(weights))
            reader.kill()
            reader.communicate()
        self.assertTrue(same(self.view, expected))

    def test_a_signal_ends_the_foreground(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([ANEMONE, "mount", "-q", "-f", golden("clip/mcore.nemo"), self.view, "--to", "hf"])
            self.wait_for_view(process)
            process.send_signal(number)
            self.assertEqual(process.wait(), 0)
            self.assertEqual(os.listdir(self.view), [])

    def test_a_signal_ends_what_waits_for_a_server(self):
        """Within half a second: the mount, by a signal or unmount, and a reader that is killed."""
        os.mkdir(self.path("served"))
        shutil.copyfile(golden("clip/mcore.nemo"), self.path("served/clip.nemo"))
        log = self.path("log")
        server = subprocess.Popen([sys.executable, SERVER, log, self.path("served")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        url = server.stdout.readline().split()[0]

        def count(end):
            with open(log) as file:
                return sum(line.endswith(end) for line in file)

        self.mount(f"{url}/plain/clip.nemo", "--to", "hf")
        requests = count("\n")  # that opening it makes
        self.unmount()
        numbers = itertools.count()
        for how, ends in (("head", signal.SIGINT), ("body", signal.SIGTERM), ("head", signal.SIGKILL)):
            def attempt():
                stalls = count(" stall\n")
                source = f"{url}/stall-{requests + 1}-{how}-{next(numbers)}/clip.nemo"
                process = subprocess.Popen([ANEMONE, "mount", "-q", "-f", source, self.view, "--to", "hf"])
                self.wait_for_view(process)
                reader = subprocess.Popen(["cat", os.path.join(self.view, "model.safetensors")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while count(" stall\n") == stalls:
                    self.assertIsNone(reader.poll(), "it ended before the server stalled")
                    time.sleep(0.01)
                begin = time.monotonic()
                if ends == signal.SIGKILL:
                    reader.kill()
                    self.assertEqual(reader.wait(), -signal.SIGKILL)
                    self.unmount()
                else:
                    process.send_signal(ends)
                self.assertEqual(process.wait(), 0)
                took = time.monotonic() - begin
                self.assertNotEqual(reader.wait(), 0)
                return took

            with self.subTest(how, ends=ends):
                self.assertEndsAtOnce(attempt)

    def test_relative_paths(self):
        shutil.copyfile(golden("clip/mcore.nemo"), self.path("clip.nemo"))
        result = subprocess.run([ANEMONE, "mount", "-q", "clip.nemo", "view dir", "--to", "hf"], cwd=self.path("."))
        self.assertEqual(result.returncode, 0)
        time.sleep(1.1)
        with open(os.path.join(self.view, "config.json")) as file:
            self.assertIn("CLIPModel", file.read())

    def test_a_wrong_place_is_refused(self):
        with open(self.path("file"), "w"):
            pass
        os.mkdir(self.path("full"))
        with open(self.path("full/file"), "w"):
            pass
        for place, status, words in (("absent", 66, "found nothing"), ("file", 64, "found a file"),
                                     ("full", 73, "found one that holds something")):
            result = run("mount", golden("clip/mcore.nemo"), self.path(place), "--to", "hf")
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertIn(words, result.stderr)
        result = run("unmount", self.view)
        self.assertEqual(result.returncode, 64)
        self.assertIn("nothing that anemone has mounted is there", result.stderr)

    def test_a_wrong_source_is_refused(self):
        result = run("mount", self.path("nothing.nemo"), self.view)
        self.assertEqual(result.returncode, 66, result.stderr)
        self.assertEqual(os.listdir(self.view), [])


def can_mount():
    """Whether this machine lets us, asked of the kernel, not of anemone."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    if os.geteuid() != 0:
        return shutil.which("fusermount3") is not None
    with open("/proc/self/status") as status:
        capabilities = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return bool(capabilities & 1 << 21)  # CAP_SYS_ADMIN, which a container's root may lack


if __name__ == "__main__":
    if not can_mount():
        print("nothing can be mounted here", file=sys.stderr)
        sys.exit(77)
    del sys.argv[1:3]
    unittest.main()
