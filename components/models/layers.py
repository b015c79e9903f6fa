"""Layers whose values `initialize` sets."""

from __future__ import annotations

from torch import nn


class Linear(nn.Linear):
    """torch's linear layer without values of its own until `initialize` draws them.

    torch draws some when a layer is made, a second for each 60 million weights, which would be
    thrown away.
    """

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""
