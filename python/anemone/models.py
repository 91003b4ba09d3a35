"""Models under NeMo's names, on the CPU: load, save, encode, classify."""

import ctypes
import os

from . import _c
from ._checkpoint import Checkpoint
from ._config import ConfigDict, to_json
from ._errors import CorruptError, InvalidArgumentError, UnsupportedError
from ._ops import checked, convert
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
        """Opens a model, as NeMo's restore_from does. A file of another class is refused.

        Parameters
        ----------
        restore_path : str or os.PathLike
        override_config_path : str, os.PathLike, dict or omegaconf.DictConfig, optional
            A YAML file or a config that replaces the stored one.
        map_location : optional
            Accepted where it names the CPU.
        strict : bool
            Checks names and shapes against the config.
        return_config : bool
            Returns the config, and reads no weights.
        save_restore_connector : None
            Refused: every form of .nemo is read without one.
        trainer : optional
            Accepted and ignored.
        threads : int
            Worker threads; 0 is one for each core.
        keep_weights : bool
            With False each call reads a layer at a time and keeps none of it.

        Returns
        -------
        Model or ConfigDict
        """
        if save_restore_connector is not None:
            raise UnsupportedError("restore_from: save_restore_connector is not carried", "every form of .nemo is read without one")
        if map_location is not None and "cpu" not in str(map_location):
            raise UnsupportedError(f"restore_from: map_location {map_location}: expected cpu", "inference runs on the CPU here")
        if override_config_path is None and not return_config and strict:
            checkpoint, restored = open_checkpoint(restore_path), None
            found = checkpoint._info["model_class"]
        else:
            config = None if override_config_path is None else _yaml(override_config_path)
            try:
                checkpoint = restored = _restored(restore_path, config, strict, return_config)
            except CorruptError:  # no .nemo: another format's config is read with its headers
                if not return_config:
                    raise
                checkpoint, restored = open_checkpoint(restore_path), None
                if checkpoint.config is None:
                    raise
            found = checkpoint._info["model_class"]
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

    def cuda(self, device=None):
        """Refused: inference runs on the CPU here."""
        return self.to("cuda" if device is None else device)

    def load_state_dict(self, state_dict, strict=True):
        """Refused: a model here is a file's, and its weights are the file's."""
        raise UnsupportedError("load_state_dict: expected no other weights than the file's",
                               "anemone.torch.save_file(state_dict, path, config=model.cfg) makes a file of them")

    def summary(self):
        """What it is and its tensors, as text: name, dtype, shape."""
        checkpoint = self._checkpoint
        return "\n".join([repr(self), *checkpoint._table(all_rows=True), f"{checkpoint.num_parameters:,} parameters"])

    def __getstate__(self):
        return {**self.__dict__, "_loaded": None}  # loaded again where it is needed

    def __repr__(self):
        return f"<anemone.models.{type(self).__name__} of {self._checkpoint._line()}>"

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
        save_path = os.fspath(save_path)
        words = checked({"to": "nemo" if save_path.endswith(".nemo") else "nemo-dir", "force": options["force"],
                         "threads": options.get("threads", 0)})
        return _c.run(lambda following: _c.json("save", restored._handle, _c.path_bytes(save_path), words, following),
                      options.get("progress"))

    def _with_edited_config(self):
        """The model restored with the config as it was changed here; None where it was not."""
        # As text: in Python 1, 1.0 and True are equal.
        if self._cfg is None or to_json(self._cfg) == to_json(self._checkpoint.config):
            return None
        stored = self._checkpoint
        if self._restored is None and (not stored.format.startswith("nemo") or stored.format == "nemo2"):
            raise UnsupportedError(f"{stored.path}: a changed config is saved from a .nemo, found the format {stored.format}",
                                   "anemone.convert to a .nemo first, or its option set=")
        restored = self._restored or _restored(stored.path)
        _c.call("config_set", restored._handle, b"", to_json(self._cfg).encode())
        return restored


class MegatronCLIPModel(Model):
    """A CLIP or SigLIP from any checkpoint that anemone reads: a .nemo, a training's .ckpt, a Hugging Face or OpenCLIP folder.

        model = MegatronCLIPModel.restore_from(restore_path="openai_clip.nemo")
        model.classify("girl.jpg", ["a dog", "a boy", "a girl"])
    """

    @property
    def _clip(self):
        if self._loaded is None:
            options = to_json({"threads": self._threads, "keep_weights": self._keep_weights}).encode()
            self._loaded = _c.run(lambda _: _c.make("clip", "clip_load", self._checkpoint._stored, options))
        return self._loaded

    @property
    def logit_scale(self):
        """exp(logit_scale), the number similarities are multiplied by."""
        scale = ctypes.c_double()
        _c.call("clip_logit_scale", self._clip, ctypes.byref(scale))
        return scale.value

    def preprocess(self, images):
        """Pictures → float32 [n, 3, size, size].

        Parameters
        ----------
        images : path, PIL.Image.Image or uint8 array [height, width, 3], or a list of them

        Returns
        -------
        numpy.ndarray
        """
        numpy = _c.import_numpy()
        if isinstance(images, (str, os.PathLike)) or _is_picture_data(images):
            images = [images]
        size = _c.plain("clip_image_size", self._clip)
        pixels = numpy.empty((len(images), 3, size, size), numpy.float32)
        for row, image in zip(pixels, images):
            if isinstance(image, (str, os.PathLike)):
                name = _c.path_bytes(image)
                _c.run(lambda _, out=_address(row): _c.call("clip_pixels_of_file", self._clip, name, out))
            else:
                rgb = numpy.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
                if rgb.dtype != numpy.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
                    raise TypeError(f"expected uint8 [height, width, 3], found {rgb.dtype} {list(rgb.shape)}")
                _c.call("clip_pixels_of_rgb", self._clip, rgb.shape[1], rgb.shape[0], rgb.tobytes(), _address(row))
        return pixels

    def encode_image(self, images, normalize=False):
        """Features of pictures.

        Parameters
        ----------
        images : as for preprocess, or its result
        normalize : bool
            Divides each row by its length.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            float32 [n, width]; a tensor where `images` is one.
        """
        numpy = _c.import_numpy()
        if type(images).__module__.partition(".")[0] == "torch":
            import torch
            return torch.from_numpy(self.encode_image(images.detach().cpu().numpy(), normalize))
        if getattr(images, "ndim", None) != 4:
            single = isinstance(images, (str, os.PathLike)) or _is_picture_data(images)
            images = [images] if single else list(images)
        if len(images) == 0:
            raise ValueError("images: expected at least one picture, found none")
        parts = []
        for at in range(0, len(images), _BATCH):
            part = images[at:at + _BATCH]
            pixels = numpy.ascontiguousarray(part, numpy.float32) if getattr(part, "ndim", None) == 4 else self.preprocess(part)
            parts.append(self._encoded("clip_encode_images", _address(pixels), len(pixels)))
        return _unit(numpy.concatenate(parts), normalize)

    def encode_text(self, texts, normalize=False):
        """Features of texts.

        Parameters
        ----------
        texts : str or list of str
        normalize : bool
            Divides each row by its length.

        Returns
        -------
        numpy.ndarray
            float32 [n, width].
        """
        texts = [texts] if isinstance(texts, str) else texts
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"texts: expected a str or a list of str, found {type(texts).__name__} of {type(text).__name__}")
        texts = [_c.text_bytes(text) for text in texts]
        return _unit(self._encoded("clip_encode_texts", (ctypes.c_char_p * len(texts))(*texts), len(texts)), normalize)

    def __call__(self, images, texts):
        """Features of pictures and of texts, each row of length 1, as NeMo's forward gives them."""
        return self.encode_image(images, normalize=True), self.encode_text(texts, normalize=True)

    def _encoded(self, function, rows, count):
        numpy = _c.import_numpy()
        address, width = _c.run(lambda following: _c.floats_of(function, self._clip, rows, count, following))
        try:
            return numpy.frombuffer((ctypes.c_float * (count * width)).from_address(address), numpy.float32).reshape(count, width).copy()
        finally:
            _c.free(address)

    def classify(self, images, texts, logit_scale=None):
        """Probabilities of each text for each picture.

        Parameters
        ----------
        images : as for preprocess
        texts : str or list of str
        logit_scale : float, optional
            In place of the checkpoint's own (NeMo's script uses 100).

        Returns
        -------
        numpy.ndarray
            float32 [images, texts].
        """
        numpy = _c.import_numpy()
        image, text = self.encode_image(images), self.encode_text(texts)
        answer = numpy.empty((len(image), len(text)), numpy.float32)
        scale = None if logit_scale is None else ctypes.byref(ctypes.c_double(logit_scale))
        _c.call("clip_probabilities", self._clip, _address(image), len(image), _address(text), len(text), image.shape[1], scale,
                _address(answer))
        return answer


# NeMo's other classes, which are loaded, changed and saved (src/edit/model_classes.cc).


class MegatronContentFilteringModel(Model):
    """NSFW content filter: a CLIP image encoder and a classifier"""


class MegatronLatentDiffusion(Model):
    """Stable Diffusion"""


class MegatronDiffusionEngine(Model):
    """Stable Diffusion XL"""


class MegatronLatentDiffusionEdit(Model):
    """InstructPix2Pix"""


class MegatronControlNet(Model):
    """ControlNet"""


class MegatronDreamBooth(Model):
    """DreamBooth"""


class MegatronImagen(Model):
    """Imagen"""


class DreamFusion(Model):
    """DreamFusion: text to 3D"""


class ModularAudioGPTModel(Model):
    """SALM: a GPT with audio input"""


class ModularizedAudioT5Model(Model):
    """BESTOW: a T5 with audio input"""


class MegatronVitClassificationModel(Model):
    """ViT image classification"""


class MegatronGPTModel(Model):
    """GPT"""


class MegatronGPTSFTModel(Model):
    """GPT, fine-tuned"""


class MegatronNevaModel(Model):
    """NeVA (LLaVA), Video NeVA and VILA: a language model with image input"""


class MegatronBertModel(Model):
    """BERT"""


class MegatronGriffinModel(Model):
    """Griffin"""


class MegatronT5Model(Model):
    """T5"""


__all__ = ["Model", "MegatronCLIPModel", "MegatronContentFilteringModel", "MegatronLatentDiffusion",
           "MegatronDiffusionEngine", "MegatronLatentDiffusionEdit", "MegatronControlNet", "MegatronDreamBooth",
           "MegatronImagen", "DreamFusion", "ModularAudioGPTModel", "ModularizedAudioT5Model",
           "MegatronVitClassificationModel", "MegatronGPTModel", "MegatronGPTSFTModel", "MegatronNevaModel",
           "MegatronBertModel", "MegatronGriffinModel", "MegatronT5Model"]


def _restored(path, config=None, strict=True, return_config=False):
    """The checkpoint as NeMo's restore_from reads it."""
    path = os.fspath(path)
    options = to_json({"config": config, "strict": strict, "return_config": return_config}).encode()
    return Checkpoint(_c.run(lambda _: _c.make("checkpoint", "restore", _c.path_bytes(path), options)),
                      reopen=(_restored, (path, config, strict, return_config)))


def _address(array):
    return array.__array_interface__["data"][0]


def _yaml(config):
    """The text of a YAML file, or of a config that is here already."""
    if isinstance(config, (str, os.PathLike)):
        with open(config, encoding="utf-8") as file:
            return file.read()
    if isinstance(config, dict):
        return to_json(config)
    from omegaconf import OmegaConf
    return OmegaConf.to_yaml(config)


def _unit(features, normalize):
    numpy = _c.import_numpy()
    return features / numpy.linalg.norm(features, axis=1, keepdims=True) if normalize else features
