"""The .ckpt files that anemone writes, taken up by Lightning.

usage: lightning_load.py ANEMONE CHECKPOINT…

Each CHECKPOINT (one rank's) is written as a .ckpt. LightningModule.load_from_checkpoint restores it strictly into a module tree of the
same names, with weights_only=True, and Trainer.validate takes its path; Trainer.fit goes on from its step,
with its optimizer's moments where it has them. Needs torch, omegaconf and lightning (or pytorch_lightning).
"""

import io
import os
import subprocess
import sys
import tempfile
import warnings

import torch
from omegaconf import DictConfig

try:
    import lightning.pytorch as pl
except ImportError:
    import pytorch_lightning as pl

from module_tree import grow

warnings.filterwarnings("ignore")
torch.serialization.add_safe_globals([io.BytesIO, DictConfig])  # extra states as NeMo's; the name in hparams_type


class Model(pl.LightningModule):
    """The module tree with the names of `state`, its values unset; optimized in groups of parameters of these shapes."""

    state, groups = {}, ()

    def __init__(self, cfg=None):
        super().__init__()
        self.save_hyperparameters("cfg")
        grow(self, self.state, lambda module, name, value: module.register_parameter(
            name, torch.nn.Parameter(torch.full_like(value, 7), requires_grad=value.is_floating_point())))

    def training_step(self, *_):
        return sum(p.float().sum() for p in self.parameters()) * 0.0

    def validation_step(self, *_):
        pass

    def on_load_checkpoint(self, checkpoint):
        """Apex's FusedAdam keeps the step in its groups, torch's Adam with each parameter's moments."""
        for optimizer in checkpoint["optimizer_states"]:
            for group in optimizer["param_groups"]:
                for index in group["params"] if "step" in group else ():
                    optimizer["state"][index].setdefault("step", torch.tensor(float(group["step"])))

    def configure_optimizers(self):
        parameters, groups = list(self.parameters()), []
        for shapes in self.groups:  # which of one shape is which does not matter here
            groups.append({"params": [parameters.pop(next(i for i, p in enumerate(parameters) if p.shape == shape)) for shape in shapes]})
        return torch.optim.Adam(groups or parameters, lr=0.0)


def trainer(folder, **options):
    return pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      enable_model_summary=False, default_root_dir=folder, **options)


def same(model, state, where):
    found = model.state_dict()
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)), f"{where}: {name}"


def check(path, folder):
    file = torch.load(path, map_location="cpu", weights_only=True)
    state, cfg, states = file["state_dict"], file["hyper_parameters"]["cfg"], file["optimizer_states"]
    Model.state = state
    Model.groups = [[states[0]["state"][i]["exp_avg"].shape for i in g["params"]] for g in states[0]["param_groups"]] if states else ()
    said = [f"{len(state)} entries restored, Lightning {file['pytorch-lightning_version']}"]
    model = Model.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    same(model, state, "load_from_checkpoint")
    assert model.hparams["cfg"] == cfg, "hyper_parameters"
    data = torch.utils.data.DataLoader([0.0])
    fresh = Model(cfg)
    trainer(folder).validate(fresh, data, ckpt_path=path, weights_only=True, verbose=False)
    same(fresh, state, "validate")
    fresh, step = Model(cfg), file["global_step"]
    run = trainer(folder, max_steps=step + 1, limit_val_batches=0)
    run.fit(fresh, data, ckpt_path=path, weights_only=True)
    same(fresh, state, "fit")  # the learning rate is 0
    assert run.global_step == step + 1, run.global_step
    if states:
        assert len(run.optimizers[0].state) == len(states[0]["state"])
    said.append(f"training goes on from step {step} with {len(states[0]['state']) if states else 'no'} moments")
    return said


def main(anemone, *checkpoints):
    print("torch", torch.__version__, "Lightning", pl.__version__)
    for checkpoint in checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.ckpt")
            subprocess.run([anemone, "-q", "convert", checkpoint, path], check=True)
            print(f"{checkpoint}: {'; '.join(check(path, folder))}", flush=True)
    print("all taken up")


if __name__ == "__main__":
    main(*sys.argv[1:])
