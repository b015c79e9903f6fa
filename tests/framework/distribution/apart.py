"""Whole runs of two processes that are not alike."""

import os
import shutil

import torch

from framework.launching import ranks
from framework.training import folder, run
from framework.training.trainer import Trainer


def codes(path, replicated, other):
    """Train them in folders of `path`; return their exit codes.

    Args:
        replicated: a configuration that saves at every second step.
        other: the folder of a run with another one.
    """
    first = path / "drifted"
    folder.prepare(first, replicated)
    found = {"drifted": ranks.together(2, lambda: drift(first))}
    shutil.copy(first / "heartbeat.json", path / "drifted.json")
    behind, elsewhere = path / "behind", path / "elsewhere"
    shutil.copytree(first, behind, ignore=shutil.ignore_patterns("*.pt"))
    shutil.copytree(first, elsewhere)
    change(elsewhere / "checkpoints" / "step-00000002.pt")
    for name, second in {"behind": behind, "elsewhere": elsewhere, "other run": other}.items():
        folders = first, second
        found[name] = ranks.together(2, lambda f=folders: run(f[int(os.environ["RANK"])]))
        shutil.copy(first / "heartbeat.json", path / f"{name}.json")
    return found


def drift(directory):
    """Run a folder while a weight of the second process moves after its third step."""
    if os.environ["RANK"] == "1":
        update = Trainer.train_step

        def train_step(self, batch):
            update(self, batch)
            if self.step == 3:
                next(self.model.parameters()).detach().view(-1)[0] += 1e-3

        Trainer.train_step = train_step
    run(directory)


def change(checkpoint):
    """Change what the optimizer remembers."""
    state = torch.load(checkpoint)
    state["optimizer"]["state"][0]["exp_avg"].view(-1)[0] += 1e-3
    torch.save(state, checkpoint)
