"""import_ckpt and export_ckpt of `nemo.collections.llm`, by the same arguments."""

import os
import pathlib

import anemone
from anemone._errors import InvalidArgumentError

_SCHEME = "hf://"


def _cached(source):
    """The folder in which NeMo stores an import without output_path."""
    models = os.environ.get("NEMO_MODELS_CACHE")
    if not models:
        home = os.environ.get("NEMO_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "nemo")
        models = os.path.join(home, "models")
    return pathlib.Path(models) / (pathlib.PurePath(source).name if os.path.isabs(source) else source)


def import_ckpt(model, source, output_path=None, overwrite=False, **options):
    """A Hugging Face model ("hf://ORG/NAME" or "hf:///folder") as a NeMo 2 folder; answers its path.

    `model` is accepted for compatibility: the class follows the source's config. `options` are those of anemone.convert().
    """
    source = os.fspath(source)
    source = source[len(_SCHEME):] if source.startswith(_SCHEME) else source
    output_path = pathlib.Path(output_path) if output_path is not None else _cached(source)
    anemone.convert(source, output_path, to="nemo2", force=overwrite, **options)
    return output_path


def export_ckpt(path, target="hf", output_path=None, overwrite=False, load_connector=None, modelopt_export_kwargs=None, **options):
    """A NeMo 2 folder (or any other checkpoint) as a Hugging Face folder, or a LoRA of NeMo's as a PEFT folder ("hf-peft");
    answers its path, PATH/TARGET where none is given.

    `load_connector` is accepted for compatibility. `modelopt_export_kwargs` is for quantized models, which are not converted.
    `options` are those of anemone.convert().
    """
    if modelopt_export_kwargs is not None:
        raise InvalidArgumentError(f"modelopt_export_kwargs: expected None, found {modelopt_export_kwargs}")
    if target not in ("hf", "hf-peft"):
        raise InvalidArgumentError(f"target: expected hf or hf-peft, found {target}")
    output_path = pathlib.Path(output_path) if output_path is not None else pathlib.Path(path) / target
    anemone.convert(path, output_path, to="hf" if target == "hf" else "peft", force=overwrite, **options)
    return output_path
