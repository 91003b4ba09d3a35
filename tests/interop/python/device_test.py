"""Loading onto a device: through a stand-in for torch.cuda whose copies run when they are waited for, never before; ranks; the CPU.

usage: device_test.py GOLDEN_DIR
Needs torch and PYTHONPATH naming the package. No GPU is needed, and none is used.
"""

import contextlib
import os
import sys
import threading
import unittest
import unittest.mock

import torch

import anemone
import anemone.torch
from anemone import _device

GOLDEN = os.path.abspath(sys.argv[1])


def golden(path):
    return os.path.join(GOLDEN, path)


class OnDevice(torch.Tensor):
    """Memory of the device: a copy to it is queued on the stream of the thread, and reads its source when it runs."""

    def copy_(self, source, non_blocking=False):
        assert non_blocking
        Cuda.local.stream.queue.append((self.as_subclass(torch.Tensor), source))
        return self


class Stream:
    def __init__(self, device=None):
        self.queue, self.done, self.lock = [], 0, threading.Lock()

    def run(self, until):
        with self.lock:
            while self.done < until:
                target, source = self.queue[self.done]
                target.copy_(source)
                self.done += 1

    def synchronize(self):
        self.run(len(self.queue))

    def wait_stream(self, other):
        other.synchronize()


class Event:
    def __init__(self):
        self.stream, self.until = None, 0

    def record(self, stream):
        self.stream, self.until = stream, len(stream.queue)

    def synchronize(self):
        if self.stream is not None:
            self.stream.run(self.until)


class Cuda:
    local = threading.local()
    Stream, Event = Stream, Event

    @staticmethod
    @contextlib.contextmanager
    def stream(stream):
        Cuda.local.stream = stream
        yield
        Cuda.local.stream = None

    @staticmethod
    @contextlib.contextmanager
    def device(device):
        yield

    @staticmethod
    def current_stream(device):
        return Stream()


class Torch:
    """torch, of which the device's memory is this machine's."""

    cuda = Cuda
    pinned = 0

    def __getattr__(self, name):
        return getattr(torch, name)

    def empty(self, size, dtype, device=None, pin_memory=False):
        made = torch.full((size,), 0xA5, dtype=dtype)
        self.pinned += pin_memory
        return made.as_subclass(OnDevice) if device is not None else made


def load(tensors, window=1 << 12, torch_module=None):
    with unittest.mock.patch.object(_device, "WINDOW", window):
        return _device.Loader(torch_module or Torch(), "cuda:0").load(tensors)


class Device(unittest.TestCase):
    def setUp(self):
        self.checkpoint = anemone.open(golden("clip/mcore.nemo"), framework="torch")

    def same(self, loaded, tensors):
        self.assertEqual(list(loaded), list(tensors))
        return all(loaded[name].as_subclass(torch.Tensor).equal(tensor.torch()) for name, tensor in tensors.items())

    def test_every_byte_arrives(self):
        for window in (1 << 6, 1 << 12, 1 << 26):
            with self.subTest(window):
                self.assertTrue(self.same(load(self.checkpoint, window), self.checkpoint))

    def test_a_window_waits_for_its_copy(self):
        """The stand-in sees what reads too early: without the wait, tensors are wrong."""
        with unittest.mock.patch.object(Event, "synchronize", lambda self: None):
            self.assertFalse(self.same(load(self.checkpoint), self.checkpoint))
        with unittest.mock.patch.object(Stream, "synchronize", lambda self: None):
            self.assertFalse(self.same(load(self.checkpoint), self.checkpoint))

    def test_memory_is_bounded(self):
        module = Torch()
        load(self.checkpoint, torch_module=module)
        self.assertEqual(module.pinned, 2 * _device.READERS)

    def test_pieces_follow_each_other(self):
        for shape in ((1000,), (3, 5, 7), (1, 1, 64), (2, 1, 300), (0, 4), ()):
            data = torch.arange(max(1, torch.Size(shape).numel()), dtype=torch.int32)[:torch.Size(shape).numel()].reshape(shape)
            saved = anemone.torch.save_file({"x": data}, os.path.join(self.folder(), "x.safetensors"))
            tensor = anemone.open(saved["destination"], framework="torch")["x"]
            for most in (4, 64, 4096):
                parts = list(_device.pieces(tensor, most))
                self.assertTrue(all(part.nbytes <= most or part.nbytes == 4 for part in parts), (shape, most))
                self.assertTrue(torch.cat([part.torch().reshape(-1) for part in parts]).equal(data.reshape(-1)))

    def folder(self):
        import tempfile
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    def test_a_failure_is_raised_and_ends_all(self):
        class Broken:
            nbytes, shape, dtype = 4, (1,), "float32"

            def _read(self, address):
                raise OSError("cannot read")

        with self.assertRaisesRegex(OSError, "cannot read"):
            load({"good": self.checkpoint[next(iter(self.checkpoint))], "bad": Broken()})
        Broken.dtype = "float1"
        with self.assertRaisesRegex(TypeError, "float1"):
            load({"bad": Broken()})

    def test_the_cpu_maps_or_reads(self):
        for name in ("clip/hf", "clip/mcore.nemo", "clip/mcore_tp2.nemo"):
            checkpoint = anemone.open(golden(name), framework="torch")
            self.assertTrue(self.same(anemone.torch.load_file(golden(name)), checkpoint))
            self.assertTrue(self.same(checkpoint.state_dict(device="cpu"), checkpoint))
        with unittest.mock.patch.object(_device, "_MAPPED", 1):
            loaded = anemone.torch.load_file(golden("clip/hf"))
        next(iter(loaded.values())).zero_()  # is private to this process
        self.assertTrue(self.same(anemone.torch.load_file(golden("clip/hf")), anemone.open(golden("clip/hf"), framework="torch")))
        with self.assertRaises(ValueError):
            checkpoint.state_dict("numpy", device="cpu")

    def test_an_address_is_a_source(self):
        """Of a server without ranges, whose files are small."""
        import functools
        import http.server
        handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *args: None})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=golden("clip")))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        with unittest.mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1"}):
            for name in ("hf/", "hf/model.safetensors"):
                here = anemone.open(golden("clip/hf"), framework="torch")
                checkpoint = anemone.open(address + name, framework="torch")
                self.assertTrue(self.same(anemone.torch.load_file(address + name), here))
                self.assertEqual((checkpoint.config, dict(checkpoint.artifacts)), (here.config, dict(here.artifacts)))
            with self.assertRaisesRegex(anemone.NotFoundError, "HTTP 404"):
                anemone.open(address + "absent.nemo")

    def test_a_rank_of_any_layout(self):
        stored = anemone.open(golden("clip/mcore_tp2.nemo"), framework="torch")
        for source in ("clip/mcore.nemo", "clip/mcore_tp2.nemo"):
            for rank, shard in enumerate(stored.shards):
                loaded = anemone.torch.load_file(golden(source), tp=2, tp_rank=rank)
                self.assertEqual(sorted(loaded), sorted(shard))
                self.assertTrue(all(loaded[name].equal(tensor.torch()) for name, tensor in shard.items()), (source, rank))
        # As it is stored, where nothing else is said; and from another dialect's file.
        self.assertEqual(sorted(anemone.torch.load_file(golden("clip/mcore_tp2.nemo"), tp_rank=1)), sorted(stored.shards[1]))
        of_hf = anemone.torch.load_file(golden("clip/hf"), dialect="mcore", tp=2, tp_rank=1)
        self.assertTrue(set(of_hf) <= set(stored.shards[1]) and len(of_hf) > 10)
        for name, tensor in of_hf.items():
            self.assertTrue(tensor.equal(stored.shards[1][name].torch()), name)
        for wrong in ({"tp": 2, "tp_rank": 2}, {"tp_rank": 1}, {"tp": 3}, {"tp": 0}):
            with self.assertRaises(anemone.InvalidArgumentError):
                anemone.torch.load_file(golden("clip/mcore.nemo"), **wrong)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
