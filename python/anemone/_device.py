"""Tensors of a checkpoint into a device's memory: several threads read into pinned windows, each copied while the next is read."""

import threading

from . import _errors

WINDOW = 32 << 20  # bytes; each reader has two
READERS = 4
_MAPPED = 1 << 20  # from this size on, a tensor is worth a mapping


def load(tensors, device):
    """Reads all tensors of a mapping.

    Parameters
    ----------
    tensors : Mapping of str to Tensor
    device : str or torch.device

    Returns
    -------
    dict of str to torch.Tensor
    """
    import torch
    device = torch.device(device)
    if device.type == "cuda":
        return Loader(torch, device).load(tensors)
    loaded = {name: on_cpu(tensor) for name, tensor in tensors.items()}
    return loaded if device.type == "cpu" else {name: tensor.to(device) for name, tensor in loaded.items()}


def on_cpu(tensor):
    """The file's own bytes where they are in one piece, as safetensors maps them; else read."""
    if tensor.nbytes >= _MAPPED:
        try:
            return tensor.torch(copy=False)
        except (_errors.UnsupportedError, OSError):  # computed, compressed; or no room for another mapping
            pass
    return tensor.torch()


def pieces(tensor, most):
    """Parts of a tensor that follow each other in memory, of at most so many bytes unless one element is larger."""
    axis = next((axis for axis, size in enumerate(tensor.shape) if size > 1), None)
    if tensor.nbytes <= most or axis is None:
        yield tensor
        return
    size = tensor.shape[axis]
    step = max(1, most // (tensor.nbytes // size))
    for start in range(0, size, step):
        index = (slice(None),) * axis + (slice(start, min(start + step, size)),)
        yield from pieces(tensor[index], most)


class _Window:
    def __init__(self, torch):
        self.memory = torch.empty(WINDOW, dtype=torch.uint8, pin_memory=True)
        self.copied = torch.cuda.Event()


class _Reader:
    """What one thread reads with."""

    def __init__(self, torch, device):
        self._torch = torch
        self.stream = torch.cuda.Stream(device)
        self._windows = [_Window(torch), _Window(torch)]

    def move(self, batch):
        """Reads parts into a window, and has them copied to their places on the device."""
        window = self._windows[0]
        self._windows.reverse()
        window.copied.synchronize()  # of what it held before
        at = 0
        for part, place in batch:
            target = window.memory[at:at + part.nbytes]
            part._read(target.data_ptr())
            at += part.nbytes
        at = 0
        with self._torch.cuda.stream(self.stream):
            for part, place in batch:
                place.copy_(window.memory[at:at + part.nbytes], non_blocking=True)
                at += part.nbytes
            window.copied.record(self.stream)


class Loader:
    """Moves tensors to a CUDA device. `torch` is the module."""

    def __init__(self, torch, device):
        self._torch, self._device = torch, device
        self._lock = threading.Lock()
        self._failure = None

    def load(self, tensors):
        """dict of str to torch.Tensor: all tensors of a mapping."""
        torch = self._torch
        loaded = {}
        places = []
        for name, tensor in tensors.items():
            dtype = getattr(torch, tensor.dtype, None)
            if dtype is None:
                raise TypeError(f"{name}: torch {torch.__version__} has no {tensor.dtype}")
            room = torch.empty(tensor.nbytes, dtype=torch.uint8, device=self._device)
            places.append((tensor, room))
            loaded[name] = room.view(dtype).reshape(tensor.shape)
        self._batches = self._divide(places)
        current = torch.cuda.current_stream(self._device)
        readers = [_Reader(torch, self._device) for _ in range(READERS)]
        for reader in readers:
            reader.stream.wait_stream(current)  # the memory may still be in use by what it was freed from
        threads = [threading.Thread(target=self._run, args=(reader,), daemon=True) for reader in readers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:
            self._failure = self._failure or error
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        for reader in readers:
            reader.stream.synchronize()
        if self._failure is not None:
            raise self._failure
        return loaded

    @staticmethod
    def _divide(places):
        """Batches of (part, place) that fit a window each: small tensors share one, large ones take several."""
        batch, size = [], 0
        for tensor, room in places:
            at = 0
            for part in pieces(tensor, WINDOW):
                if part.nbytes == 0:
                    continue
                if size + part.nbytes > WINDOW:
                    yield batch
                    batch, size = [], 0
                batch.append((part, room[at:at + part.nbytes]))
                at += part.nbytes
                size += part.nbytes
        if batch:
            yield batch

    def _run(self, reader):
        try:
            with self._torch.cuda.device(self._device):
                while True:
                    with self._lock:
                        batch = next(self._batches, None) if self._failure is None else None
                    if batch is None:
                        return
                    reader.move(batch)
        except BaseException as error:
            self._failure = self._failure or error
