"""Checks of what turns noise into samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from framework.testing.building import BATCH, SHAPE
from framework.testing.findings import Findings, Given, Hint, tensor


class _Field:
    """The flow of dx/dt = x, counting its evaluations."""

    def __init__(self) -> None:
        self.evaluations = 0
        self.empty_class = 1

    def displacement(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return where the flow takes x from t to s, less x."""
        self.evaluations += 1
        return x * torch.expm1(s - t).view(-1, *[1] * (x.dim() - 1))

    def velocity(self, x: Tensor, t: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return x."""
        self.evaluations += 1
        return x


def sampler(sample: Any, given: Given) -> Findings:
    """Check float64 samples like the noise, after exactly `nfe` evaluations or a refusal.

    None, for a number that the sampler finds by itself, may be refused as well as any other. Each
    run checks the numbers that it asks for, so that here they are hinted at.
    """
    noise = torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0))
    c, w = torch.zeros(BATCH, dtype=torch.int64), torch.ones(BATCH)
    refused = []
    for nfe in (None, 1, 2, 3, 4):
        field, given_noise = _Field(), noise.clone()
        try:
            samples = sample(field, given_noise, c, w, nfe)
        except ValueError as error:
            refused.append(str(error))
            continue
        except TypeError as error:
            if nfe is not None:
                raise
            yield Hint(f"nfe = None is not refused with a ValueError: {error}")
            continue
        yield from tensor(f"the samples of nfe = {nfe}", samples, noise.shape, torch.float64)
        if nfe is not None and field.evaluations != nfe:
            yield Hint(f"nfe = {nfe} takes {field.evaluations} evaluations")
        if not torch.equal(given_noise, noise):
            yield "it writes into the noise that it is given"
    if len(refused) == 5:
        yield Hint(f"it refuses every nfe, None and 1 to 4: {refused[-1]}")


CHECKS: dict[str, Callable[[Any, Given], Findings]] = {"sampler": sampler}
