"""The batch at fixed addresses that a recorded step reads."""

import torch

from framework.protocols import Batch
from framework.training.graphed import _HeldBatch


def batch(value):
    def uniform(stream, width):
        return torch.full((2, width), value / 10)

    x = torch.full((2, 3), float(value))
    return Batch(x, -x, torch.full((2,), value), 10, uniform)


def test_it_holds_what_it_was_last_filled_with_whatever_is_asked_for_when():
    held = _HeldBatch(batch(1))
    early = held.batch.uniform("time", 1)
    held.fill(batch(2))
    late = held.batch.uniform("guidance", 2)
    assert torch.equal(early, batch(2).uniform("time", 1))
    assert torch.equal(late, batch(2).uniform("guidance", 2))
    assert torch.equal(held.batch.x0, batch(2).x0)
    held.fill(batch(3))
    assert torch.equal(late, batch(3).uniform("guidance", 2))
    assert torch.equal(held.batch.labels, batch(3).labels)
