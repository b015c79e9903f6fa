"""Dropping of labels, common to all guidances."""

from __future__ import annotations

import torch
from torch import Tensor

from framework.protocols import Conditions


def with_dropout(
    labels: Tensor, weights: Tensor, empty_class: int, coin: Tensor, label_dropout: float
) -> Conditions:
    """Return the conditions of labels (B,) and weights (B,) in any precision.

    Where coin (B,) < label_dropout the class is empty and the weight 1.
    """
    dropped = coin < label_dropout
    return Conditions(
        c=torch.where(dropped, empty_class, labels),
        w=torch.where(dropped, 1.0, weights.float()),
    )
