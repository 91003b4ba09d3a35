"""The program's other commands, as functions: by its command line, and infer by the model class."""

import os

from . import _c
from ._ops import _Progress, typed


def _path(path):
    """A path as a word of the command line: one that begins with a dash is no option."""
    path = os.fsdecode(path)
    return os.path.join(".", path) if path.startswith("-") else path


def _several(name, values):
    """A list; not a text, whose letters would be its items."""
    if isinstance(values, (str, bytes, os.PathLike)):
        raise TypeError(f"{name}: expected a list, found {type(values).__name__}")
    return list(values)


def _words(**options):
    """Options as words: True is a flag, None and False are left out, lists and dicts are repeated."""
    words = []
    for name, value in typed(options).items():
        flag = "--" + name.replace("_", "-")
        if hasattr(value, "items"):
            value = [f"{key}={item}" for key, item in value.items()]
        if value is True:
            words.append(flag)
        elif isinstance(value, (list, tuple)):
            words += [f"{flag}={item}" for item in value]
        elif value is not None and value is not False:
            words.append(f"{flag}={value}")
    return words


def _value(value):
    """A config value as --set takes it; text is quoted, so that it stays text."""
    if isinstance(value, str):
        import re
        return "'" + re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value) + "'"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if hasattr(value, "items"):
        return "{" + ", ".join(f"{_value(str(key))}: {_value(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value.item() if hasattr(value, "item") else value)  # a scalar of numpy or torch


def _json(*words):
    from json import loads
    return loads(_c.command([*words, "--json"])[0])


def inspect(path, *, key=None, tensors=False):
    """Describes a checkpoint, as `anemone inspect --json` does.

    Parameters
    ----------
    path : str or os.PathLike
    key : str, optional
        The dictionary of a torch file that holds the weights.
    tensors : bool
        Lists every tensor, too.

    Returns
    -------
    dict
        path, format, family, dialect, layout, sizes, origin, parameters, bytes, dtypes, config, artifacts, next …
    """
    return _json("inspect", _path(path), *_words(key=key, tensors=tensors))


def plan(*, family=None, config=None, preset=None, dialect=None, vocab=None, dtype=None, optimizer=False, to=None, tp=None, pp=None, vp=None):
    """Estimates the files and per-rank sizes of a model for a parallel layout, as `anemone plan --json` does.

    Parameters
    ----------
    family : {"clip", "siglip", "gpt", "t5"}, optional
    config : str or os.PathLike, optional
        A YAML file with the model's config.
    preset : str, optional
        A CLIP's size by name, in place of a config.
    dialect, dtype, to : str, optional
        Names of tensors, dtype of the weights, format.
    vocab : int, optional
        Number of tokens, where the config does not say.
    optimizer : bool
        With Adam's state.
    tp, pp, vp : int, optional
        The layout.

    Returns
    -------
    dict
    """
    return _json("plan", *_words(family=family, config=config and _path(config), preset=preset, dialect=dialect, vocab=vocab, dtype=dtype,
                                 optimizer=optimizer, to=to, tp=tp, pp=pp, vp=vp))


def _writes(*words, progress=None, tqdm=False):
    with _Progress(progress, tqdm) as callback:
        _c.command(words, callback)


def extract(src, dst, *, members=(), force=False, progress=None, tqdm=False):
    """Unpacks a .nemo into a folder.

    Parameters
    ----------
    src, dst : str or os.PathLike
    members : list of str
        Only these files, or folders with their content.
    force : bool
        Replaces an existing output.
    progress, tqdm
        As for open().
    """
    _writes("extract", _path(src), _path(dst), *_words(member=_several("members", members), force=force), progress=progress, tqdm=tqdm)


def pack(src, dst, *, force=False, progress=None, tqdm=False):
    """Packs a folder into a .nemo.

    Parameters
    ----------
    src, dst : str or os.PathLike
    force : bool
        Replaces an existing output.
    progress, tqdm
        As for open().
    """
    _writes("pack", _path(src), _path(dst), *_words(force=force), progress=progress, tqdm=tqdm)


def edit(path, *, set=None, unset=(), artifacts=None, output=None, strict=True, force=False, progress=None, tqdm=False):  # noqa: A002
    """Changes the config or the files of a .nemo, not its weights.

    Parameters
    ----------
    path : str or os.PathLike
    set, artifacts : dict, optional
        Config paths to values, and to files that are stored.
    unset : list of str
        Config paths to remove.
    output : str or os.PathLike, optional
        The edited copy. Default: the archive itself is changed.
    strict : bool
        A config that the weights do not fit is an error.
    force : bool
        Replaces an existing output.
    progress, tqdm
        As for open().
    """
    _writes("edit", _path(path), *_words(set=set and {key: _value(value) for key, value in set.items()}, unset=_several("unset", unset),
                                         artifact=artifacts and {key: _path(file) for key, file in artifacts.items()}, output=output and _path(output),
                                         no_strict=not strict, force=force), progress=progress, tqdm=tqdm)


def average(sources, dst, *, to=None, verify_source=True, force=False, progress=None, tqdm=False):
    """Averages the weights of several checkpoints.

    Parameters
    ----------
    sources : list of str or os.PathLike
    dst : str or os.PathLike
    to : str, optional
        Format to write. Default: by the name of `dst`.
    verify_source : bool
        Records of a source that do not match their checksum are errors.
    force : bool
        Replaces an existing output.
    progress, tqdm
        As for open().
    """
    _writes("average", *map(_path, _several("sources", sources)), _path(dst), *_words(to=to, no_verify_source=not verify_source, force=force),
            progress=progress, tqdm=tqdm)


def report(first, second=None, *, output, statistics=False, force=False, progress=None, tqdm=False):
    """Writes an HTML page about a checkpoint, or about how two differ.

    Parameters
    ----------
    first, second : str or os.PathLike
    output : str or os.PathLike
        The page to write.
    statistics : bool
        Reads all weights: each tensor's statistics and histogram.
    force : bool
        Replaces an existing page.
    progress, tqdm
        As for open().
    """
    paths = [_path(first)] + ([] if second is None else [_path(second)])
    _writes("report", *paths, *_words(output=_path(output), statistics=statistics, force=force), progress=progress, tqdm=tqdm)


def fetch(repo, *, progress=None, tqdm=False):
    """Downloads the files a conversion needs into the Hugging Face cache.

    Parameters
    ----------
    repo : str
        A hub id: "org/name" or "org/name@revision".
    progress, tqdm
        As for open().

    Returns
    -------
    str
        Their folder.
    """
    with _Progress(progress, tqdm) as callback:
        return _c.command(["fetch", repo], callback)[0].rstrip("\n")


def clean(folder=".", *, all=False):  # noqa: A002
    """Removes what killed runs left in a folder.

    Parameters
    ----------
    folder : str or os.PathLike
    all : bool
        Also what an interrupted conversion could continue from.
    """
    _writes("clean", _path(folder), *_words(all=all))


def infer(model, images, texts, *, logit_scale=None, threads=0):
    """Classifies pictures with a CLIP of any format. For more than one call use anemone.models.MegatronCLIPModel.

    Parameters
    ----------
    model : str or os.PathLike
    images : path, PIL.Image.Image or uint8 array [height, width, 3], or a list of them
        A folder stands for the pictures in it, sorted by name.
    texts : str or list of str
    logit_scale : float, optional
        In place of the checkpoint's own.
    threads : int
        Worker threads; 0 is one for each core.

    Returns
    -------
    numpy.ndarray
        float32 [images, texts]: the probability of each text.
    """
    from .models import MegatronCLIPModel
    if isinstance(images, (str, os.PathLike)) and os.path.isdir(images):
        images = _c.json("find_images", _c.path_bytes(images))
    return MegatronCLIPModel.restore_from(model, threads=threads, keep_weights=False).classify(images, texts, logit_scale=logit_scale)
