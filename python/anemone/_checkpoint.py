"""Checkpoint: a mapping of names to tensors over any file or folder that anemone reads."""

from collections.abc import Mapping

from ._tensor import Tensor


class _Views(Mapping):
    """A checkpoint's tensors as one framework's arrays, each read when it is asked for."""

    def __init__(self, checkpoint, framework, copy):
        self._checkpoint = checkpoint
        self._framework = framework
        self._copy = copy

    def __getitem__(self, name):
        return self._checkpoint.get_tensor(name, self._framework, self._copy)

    def __iter__(self):
        return iter(self._checkpoint)

    def __len__(self):
        return len(self._checkpoint)


class Artifacts(Mapping):
    """The files that travel with a model, by name; reading one gives its bytes."""

    def __init__(self, handle):
        self._handle = handle

    def __getitem__(self, name):
        return self._handle.artifact(name)

    def __iter__(self):
        return iter(self._handle.artifacts)

    def __len__(self):
        return len(self._handle.artifacts)

    def __repr__(self):
        return f"Artifacts({list(self)})"


class Shard(Mapping):
    """What one tensor- and pipeline-parallel rank stored, as it stored it."""

    def __init__(self, tp_rank, pp_rank, entries):
        self.tp_rank = tp_rank
        self.pp_rank = pp_rank
        self._entries = {name: Tensor(entry, name) for name, entry in entries.items() if entry is not None}

    def __getitem__(self, name):
        return self._entries[name]

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __repr__(self):
        return f"Shard(tp_rank={self.tp_rank}, pp_rank={self.pp_rank}, tensors={len(self)})"


class Checkpoint(Mapping):
    """Names to tensors, in stored order; reading a tensor is the only thing that costs. Ranks are merged, and the names are
    those of `dialect`. Besides the mapping it speaks safetensors' `safe_open`: keys, get_tensor, get_slice, metadata, `with`.
    """

    def __init__(self, handle, dialect=None, framework="numpy"):
        if framework not in ("numpy", "np", "torch", "pt"):
            raise ValueError(f"framework: expected numpy or torch, found {framework!r}")
        self._stored = handle
        # Without a wish for other names, ranks are merged only when someone looks at a tensor.
        self._handle = handle.in_dialect(dialect) if dialect else handle
        self._framework = framework
        self._entries = None
        self._config = None

    def _tensors(self):
        if self._entries is None:
            shards = self._handle.shards()
            if len(shards) > 1 or len(shards[0][2]) > 1:
                self._handle = self._handle.in_dialect("")
                shards = self._handle.shards()
            self._entries = shards[0][2][0]
        return self._entries

    def __getitem__(self, name):
        entry = self._tensors()[name]
        if entry is None:
            raise KeyError(f"{name} is no tensor")
        return Tensor(entry, name)

    def __iter__(self):
        return (name for name, entry in self._tensors().items() if entry is not None)

    def __len__(self):
        return sum(entry is not None for entry in self._tensors().values())

    def __contains__(self, name):
        return self._tensors().get(name) is not None

    @property
    def path(self):
        """As it was given to open()."""
        return self._stored.path

    @property
    def format(self):
        """How it lies on disk: "nemo", "lightning", "hf", "safetensors" …"""
        return self._stored.format

    @property
    def family(self):
        """The model's family ("clip", "siglip", "gpt", "t5"); empty when no table knows it."""
        return self._handle.spelling[0]

    @property
    def dialect(self):
        """Whose names these are ("mcore", "legacy", "hf", "openclip" …); empty when no table knows."""
        return self._handle.spelling[1]

    @property
    def layout(self):
        """(tp, pp, vp) as it is stored."""
        return self._stored.layout

    @property
    def shards(self):
        """What each rank stored, unmerged; a rank with virtual chunks gives one a chunk."""
        return [Shard(tp, pp, chunk) for tp, pp, chunks in self._stored.shards() for chunk in chunks]

    @property
    def config(self):
        """The model's config as a dict, interpolations unresolved; None where there is none."""
        if self._config is None and self._handle.config_json is not None:
            import json
            self._config = json.loads(self._handle.config_json)
        return self._config

    @property
    def artifacts(self):
        """Files that travel with the model: name → bytes."""
        return Artifacts(self._handle)

    @property
    def notes(self):
        """What the reader had to decide."""
        return list(self._handle.notes)

    @property
    def opaque(self):
        """Names that are no tensors: Transformer Engine's `_extra_state`."""
        return [name for name, entry in self._tensors().items() if entry is None]

    def state_dict(self, framework="torch", copy=True):
        """A lazy mapping of names to torch tensors (or numpy arrays), for `torch.nn.Module.load_state_dict`; `copy` as for
        Tensor.numpy()."""
        return _Views(self, framework, copy)

    def get_tensor(self, name, framework=None, copy=True):
        """The tensor, read, as the framework given here or to open(); `copy` as for Tensor.numpy()."""
        tensor = self[name]
        return tensor.torch(copy) if (framework or self._framework) in ("torch", "pt") else tensor.numpy(copy=copy)

    def get_slice(self, name):
        """The tensor, unread; `[a:b]` reads less than all of it."""
        return self[name]

    def offset_keys(self):
        """Names in stored order, as safetensors calls it."""
        return list(self)

    def metadata(self):
        """safetensors' `__metadata__`, torch_dist's versions."""
        return dict(self._stored.metadata)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __repr__(self):
        tp, pp, vp = self.layout
        kind = " ".join(word for word in (self.family, self.dialect) if word) or "unknown family"
        return f"<anemone.Checkpoint {self.path!r}: {self.format}, {kind}, TP {tp} × PP {pp}{f' × VP {vp}' if vp > 1 else ''}>"
