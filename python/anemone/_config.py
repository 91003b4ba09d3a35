"""ConfigDict: a config as a dict whose keys are attributes, too, as in OmegaConf."""

from collections.abc import Mapping


class ConfigDict(dict):
    """`cfg.optim.lr` is `cfg["optim"]["lr"]`. A dict's own methods hide keys of their names: `cfg["items"]`."""

    @classmethod
    def copy_of(cls, config):
        """A deep copy of a config: a mapping of text, numbers, booleans, None, lists and mappings; None where there is none."""
        return None if config is None else _plain(config, "cfg", cls)

    def __getitem__(self, key):
        value = super().__getitem__(key)
        if type(value) is dict:  # put in by update() and its like
            value = self[key] = ConfigDict(value)
        return value

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no key {name!r}") from None

    def __setattr__(self, name, value):
        self[name] = value

    def __delattr__(self, name):
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"the config has no key {name!r}") from None


def to_json(config):
    """The text that the library reads a config from. TypeError names a value that no config holds."""
    import json
    return json.dumps(_plain({} if config is None else config, "cfg", dict))


def _plain(value, where, mapping):
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return mapping((str(key), _plain(item, f"{where}.{key}", mapping)) for key, item in value.items())
    if isinstance(value, (list, tuple)) or type(value).__name__ == "ListConfig":
        return [_plain(item, f"{where}[{i}]", mapping) for i, item in enumerate(value)]
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if hasattr(value, "item"):  # a scalar of numpy or torch
        return _plain(value.item(), where, mapping)
    raise TypeError(f"{where}: expected text, a number, a boolean, None, a list or a dict, found {type(value).__name__}")
