"""Models under NeMo's names, on the CPU: load, save, encode, classify."""

import os

from . import _anemone
from ._checkpoint import Checkpoint
from ._config import ConfigDict, to_json
from ._errors import CorruptError, InvalidArgumentError, UnsupportedError
from ._ops import convert
from ._ops import open as open_checkpoint

_BATCH = 16


def _is_picture_data(image):
    return hasattr(image, "convert") or getattr(image, "ndim", None) == 3


class Model:
    """A model of any class: its config, weights and artifacts. Nothing is instantiated.

        model = Model.restore_from("gpt.nemo")
        model.cfg.optim.lr = 3e-4
        model.save_to("tuned.nemo")
    """

    def __init__(self, checkpoint, threads=0, keep_weights=True, restored=None):
        self._checkpoint = checkpoint
        self._threads = threads
        self._keep_weights = keep_weights
        self._restored = restored  # with a config of its own
        self._cfg = None
        self._loaded = None

    @classmethod
    def restore_from(cls, restore_path, override_config_path=None, map_location=None, strict=True, return_config=False,
                     save_restore_connector=None, trainer=None, *, threads=0, keep_weights=True):
        """As NeMo's. `override_config_path` is a YAML file or a config (a dict, OmegaConf's): it replaces the stored one. `return_config`
        answers the config and reads no weight. `trainer` and `map_location` are taken and not needed: the model is for the CPU.
        `keep_weights=False` reads a layer at a time at every call and keeps none of it. A file of another class is refused."""
        if save_restore_connector is not None:
            raise UnsupportedError("restore_from: save_restore_connector is not carried", "every form of .nemo is read without one")
        if map_location is not None and "cpu" not in str(map_location):
            raise UnsupportedError(f"restore_from: map_location {map_location}: expected cpu", "inference runs on the CPU here")
        if override_config_path is None and not return_config and strict:
            checkpoint, restored = open_checkpoint(restore_path), None
            found = _anemone.model_class(checkpoint._stored)
        else:
            config = None if override_config_path is None else _yaml(override_config_path)
            try:
                restored = _anemone.restore(os.fspath(restore_path), config, strict, return_config)
                checkpoint, found = Checkpoint(restored.checkpoint), restored.class_name
            except CorruptError:  # no .nemo: another format's config is read with its headers
                if not return_config:
                    raise
                checkpoint, restored = open_checkpoint(restore_path), None
                if checkpoint.config is None:
                    raise
                found = _anemone.model_class(checkpoint._stored)
        if cls is not Model and found not in ("", cls.__name__):
            raise InvalidArgumentError(f"{os.fspath(restore_path)}: expected a {cls.__name__}, found a {found}",
                                       f"anemone.models.{found} takes it, anemone.models.Model every class")
        model = cls(checkpoint, threads, keep_weights, restored)
        return model.cfg if return_config else model

    @property
    def cfg(self):
        """The model's config: a dict whose keys are attributes, too. What is changed in it is saved by save_to."""
        if self._cfg is None:
            self._cfg = ConfigDict.copy_of(self._checkpoint.config)
        return self._cfg

    @cfg.setter
    def cfg(self, config):
        self._cfg = ConfigDict.copy_of(config)

    @property
    def checkpoint(self):
        """The anemone.Checkpoint it was restored from, with the config that is stored there."""
        return self._checkpoint

    def eval(self):
        """The model itself: it is never trained here. So for freeze(), cpu() and to("cpu")."""
        return self

    freeze = cpu = eval

    def to(self, device):
        """The model itself, on the CPU."""
        if str(device) != "cpu":
            raise UnsupportedError(f"to: expected cpu, found {device}", "inference runs on the CPU here")
        return self

    def __repr__(self):
        return f"<anemone.models.{type(self).__name__} of {self._checkpoint!r}>"

    def state_dict(self):
        """Names to torch tensors, each read when it is asked for."""
        return self._checkpoint.state_dict()

    def save_to(self, save_path, **options):
        """Writes the model; a path that ends in .nemo becomes a .nemo. An existing file is replaced, as NeMo does. Options as
        for anemone.convert; of a model whose config was given or changed only force, threads and progress."""
        options.setdefault("force", True)
        restored = self._with_edited_config() or self._restored
        if restored is None:
            return convert(self._checkpoint.path, save_path, **options)
        unknown = set(options) - {"force", "threads", "progress"}
        if unknown:
            raise TypeError(f"save_to: {', '.join(sorted(unknown))}: expected no option beside a changed config; save the model first, "
                            "then anemone.convert what was saved")
        return restored.save_to(os.fspath(save_path), options["force"], options.get("threads", 0), options.get("progress"))

    def _with_edited_config(self):
        """The model restored with the config as it was changed here; None where it was not."""
        # As text: in Python 1, 1.0 and True are equal.
        if self._cfg is None or to_json(self._cfg) == to_json(self._checkpoint.config):
            return None
        stored = self._checkpoint
        if self._restored is None and (not stored.format.startswith("nemo") or stored.format == "nemo2"):
            raise UnsupportedError(f"{stored.path}: a changed config is saved from a .nemo, found the format {stored.format}",
                                   "anemone.convert to a .nemo first, or its option set=")
        restored = self._restored or _anemone.restore(os.fspath(stored.path), None, True, False)
        restored.set_config(to_json(self._cfg))
        return restored


class MegatronCLIPModel(Model):
    """A CLIP or SigLIP from any checkpoint that anemone reads: a .nemo, a training's .ckpt, a Hugging Face or OpenCLIP folder.

        model = MegatronCLIPModel.restore_from(restore_path="openai_clip.nemo")
        model.classify("girl.jpg", ["a dog", "a boy", "a girl"])
    """

    @property
    def _clip(self):
        if self._loaded is None:
            self._loaded = _anemone.load_clip(self._checkpoint._stored, self._threads, self._keep_weights)
        return self._loaded

    @property
    def logit_scale(self):
        """exp(logit_scale), the number similarities are multiplied by."""
        return self._clip.logit_scale

    def preprocess(self, images):
        """Pictures → float32 [n, 3, size, size]. A picture is a path, a PIL image or uint8 [height, width, 3]; one or a list."""
        import numpy
        if isinstance(images, (str, os.PathLike)) or _is_picture_data(images):
            images = [images]
        size = self._clip.image_size
        pixels = numpy.empty((len(images), 3, size, size), numpy.float32)
        for row, image in zip(pixels, images):
            if isinstance(image, (str, os.PathLike)):
                data = self._clip.pixels_of_file(os.fspath(image))
            else:
                rgb = numpy.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
                if rgb.dtype != numpy.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
                    raise TypeError(f"expected uint8 [height, width, 3], found {rgb.dtype} {list(rgb.shape)}")
                data = self._clip.pixels_of_rgb(rgb.shape[1], rgb.shape[0], rgb.tobytes())
            row[...] = numpy.frombuffer(data, numpy.float32).reshape(row.shape)
        return pixels

    def encode_image(self, images, normalize=False):
        """Features of pictures (as for preprocess, or its result), float32 [n, width]."""
        import numpy
        if getattr(images, "ndim", None) != 4:
            single = isinstance(images, (str, os.PathLike)) or _is_picture_data(images)
            images = [images] if single else list(images)
        parts = []
        for at in range(0, len(images), _BATCH):
            part = images[at:at + _BATCH]
            pixels = numpy.ascontiguousarray(part, numpy.float32) if getattr(part, "ndim", None) == 4 else self.preprocess(part)
            parts.append(_rows(self._clip.encode_images(pixels)))
        return _unit(numpy.concatenate(parts), normalize)

    def encode_text(self, texts, normalize=False):
        """Features of texts (one or a list of str), float32 [n, width]."""
        return _unit(_rows(self._clip.encode_texts([texts] if isinstance(texts, str) else list(texts))), normalize)

    def classify(self, images, texts, logit_scale=None):
        """Probabilities of each text for each picture, float32 [images, texts]. `logit_scale`: instead of the checkpoint's own
        (NeMo's script uses 100)."""
        import numpy
        image, text = self.encode_image(images), self.encode_text(texts)
        data = self._clip.probabilities(image, text, logit_scale)
        return numpy.frombuffer(data, numpy.float32).reshape(len(image), len(text))


# NeMo's other classes, which are loaded, changed and saved.
globals().update({name: type(name, (Model,), {"__doc__": description, "__module__": __name__})
                  for name, description in _anemone.model_classes() if name not in globals()})
__all__ = ["Model"] + [name for name, _ in _anemone.model_classes()]


def _yaml(config):
    """The text of a YAML file, or of a config that is here already."""
    if isinstance(config, (str, os.PathLike)):
        with open(config, encoding="utf-8") as file:
            return file.read()
    if isinstance(config, dict):
        return to_json(config)
    from omegaconf import OmegaConf
    return OmegaConf.to_yaml(config)


def _rows(answer):
    import numpy
    count, width, data = answer
    return numpy.frombuffer(data, numpy.float32).reshape(count, width)


def _unit(features, normalize):
    import numpy
    return features / numpy.linalg.norm(features, axis=1, keepdims=True) if normalize else features
