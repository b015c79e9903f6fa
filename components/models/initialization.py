"""Initialisation of a whole network, each parameter from its own named stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import nn

from framework.protocols import Initializer, Role

# torch's own layers draw from the global generator when reset: their weights have a role instead.
_DRAWN = (nn.Linear, nn.Embedding, nn.Conv2d)
_THREADS = 8


def initialize(
    model: nn.Module,
    initializer: Initializer,
    generators: Callable[[str], torch.Generator],
) -> None:
    """Set every parameter of a network.

    Weights (two axes or more) are drawn by the initializer by the role that their name tells,
    biases are zero, scales one. A part that wants other values has a method `reset_parameters()`.
    Draws are made in several threads: those of XL/2 take a core five seconds.
    """
    drawn: dict[Role, list[tuple[nn.Parameter, Role, torch.Generator]]] = defaultdict(list)
    for prefix, module in model.named_modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and not isinstance(module, _DRAWN):
            with _seeded(module, generators(f"{prefix}.reset").initial_seed()):
                reset()
            continue
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.ndim >= 2:
                drawn[role_of(name)].append((parameter, role_of(name), generators(name)))
            else:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    for first, *_ in drawn.values():  # torch loads its linear algebra, which no two threads may do
        initializer(*first)
    rest = [each for draws in drawn.values() for each in draws[1:]]
    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(lambda each: initializer(*each), rest):
            pass  # an error of a draw is raised here


@contextmanager
def _seeded(module: nn.Module, seed: int) -> Iterator[None]:
    """Let torch's own generators begin at a seed meanwhile: layers of torch reset from them."""
    devices = {parameter.device for parameter in module.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield


def role_of(name: str) -> Role:
    """Return what the weight of a parameter's name is for."""
    if ".modulation." in name or name.startswith("output."):
        return Role.ZERO
    if name.startswith(("patch_embedding.", "point_embedding.")):
        return Role.PATCH_EMBEDDING
    if name.startswith("condition.classes."):
        return Role.CLASS_EMBEDDING
    if name.startswith("condition."):
        return Role.TIME_EMBEDDING
    return Role.LINEAR
