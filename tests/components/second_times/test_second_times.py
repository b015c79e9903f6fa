"""Second times: which time each embeds, and the sign of its tangent."""

import pytest
import torch
from torch import nn

from components.second_times import Both, Difference, End, Nothing
from framework import UserError

T = torch.tensor([0.9, 0.5], dtype=torch.float64)
S = torch.tensor([0.2, 0.5], dtype=torch.float64)


class Scaled(nn.Module):
    """An embedding that can be read off: the time, times a number of its own."""

    made = 0

    def __init__(self):
        super().__init__()
        Scaled.made += 1
        self.factor = float(Scaled.made)

    def forward(self, time):
        return self.factor * time[:, None].expand(-1, 3)


@pytest.fixture(autouse=True)
def fresh():
    Scaled.made = 0


@pytest.mark.parametrize(
    ("second_time", "expected", "slope"),
    [
        (Difference, T - S, -1.0),
        (End, S, 1.0),
        (Both, S + 2 * (T - S), -1.0),
        (Nothing, 0 * S, 0.0),
    ],
)
def test_value_and_tangent(second_time, expected, slope):
    made = second_time(Scaled)
    value, tangent = torch.func.jvp(lambda s: made(T, s), (S,), (torch.ones_like(S),))
    torch.testing.assert_close(value.expand(2, 3), expected[:, None].expand(2, 3))
    torch.testing.assert_close(tangent.expand(2, 3), torch.full((2, 3), slope).double())


def test_each_makes_only_the_embeddings_it_uses():
    for second_time, count in ((Difference, 1), (End, 1), (Both, 2), (Nothing, 0)):
        Scaled.made = 0
        second_time(Scaled)
        assert Scaled.made == count


def test_an_embedding_that_is_no_module_is_refused():
    with pytest.raises(UserError, match=r"torch\.nn\.Module"):
        Difference(lambda: torch.sin)
