"""A module tree with the names of a state dict."""

import torch


class Holder(torch.nn.Module):
    """A module with an extra state, as Transformer Engine's have."""

    extra = None

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def grow(root, state, add):
    """Gives `root` the modules that the names say; add(module, name, value) puts each tensor there."""
    extra = {name.rpartition(".")[0] for name in state if name.endswith("._extra_state")}
    for name, value in state.items():
        module, path = root, ""
        *folders, leaf = name.split(".")
        for folder in folders:
            path = f"{path}.{folder}" if path else folder
            if not hasattr(module, folder):
                module.add_module(folder, Holder() if path in extra else torch.nn.Module())
            module = getattr(module, folder)
        if leaf != "_extra_state":
            add(module, leaf, value)
    return root
