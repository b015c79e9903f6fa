"""Schedule-free AdamW, with the weights that it has found in reach while it trains."""

from __future__ import annotations

import schedulefree
import torch
from torch import Tensor


class InterpolatedAdamW(schedulefree.AdamWScheduleFree):
    """The package's optimizer, always in its training mode: parameters hold y.

    The package swaps y and x in place, which rounds: evaluating would change what follows. Here x
    is computed beside it, and the state is that of training at any moment.
    """

    def __init__(self, *arguments: object, **settings: object) -> None:
        super().__init__(*arguments, **settings)
        self.train()

    @torch.no_grad()
    def found_weights(self) -> list[Tensor]:
        """Return x = y + (1 - 1/beta1) (z - y), since y = (1 - beta1) z + beta1 x."""
        found = []
        for group in self.param_groups:
            share = 1 - 1 / group["betas"][0]
            for y in group["params"]:
                z = self.state[y].get("z") if y in self.state else None
                found.append(y.detach() if z is None else y.lerp(z, share))
        return found
