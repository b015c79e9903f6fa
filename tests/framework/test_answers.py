"""What components answer is looked at where they are called."""

import pytest
import torch
from torch import nn

from framework.answers import optimizer_of, scores_of, times_of
from framework.errors import UserError
from framework.protocols import Score, Times


def parameters():
    return [("a", nn.Parameter(torch.ones(3))), ("b", nn.Parameter(torch.ones(2, 2)))]


class Tuple:
    def __call__(self, u):
        return u[:, 0], u[:, 1]


class Column:
    def __call__(self, u):
        return Times(u[:, 0], u[:, :1], u[:, 0])


def test_times():
    u = torch.rand(5, 4)
    with pytest.raises(UserError, match=r"^Tuple: it returns a tuple, not Times"):
        times_of(Tuple(), u)
    with pytest.raises(UserError, match=r"^Column: s is \(5, 1\), not a tensor \(5,\)"):
        times_of(Column(), u)


def test_an_optimizer():
    def nothing(parameters):
        return None

    with pytest.raises(UserError, match="nothing: it returns a NoneType, not a torch"):
        optimizer_of(nothing, parameters())
    with pytest.raises(UserError, match="leave out 1 of 2 parameters, such as b: take all"):
        optimizer_of(lambda named: torch.optim.SGD(named[:1], lr=1.0), parameters())


def test_an_optimizer_of_stand_ins_for_all_parameters():
    def in_one_row(named):
        return torch.optim.SGD([torch.cat([p.flatten() for _, p in named]).detach()], lr=1.0)

    optimizer_of(in_one_row, parameters())
    frozen = parameters()
    frozen[1][1].requires_grad_(False)
    optimizer_of(lambda named: torch.optim.SGD(named[:1], lr=1.0), frozen)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (1.0, "it returns a float, not a list of scores"),
        ([1.0], "a list with a float"),
        ([Score("x", 1.0, "up")], "'x' has the direction 'up'"),
        ([Score("x", torch.ones(2), "lower")], "'x' has a Tensor for its value"),
        ([Score("", 1.0, "lower")], "the name ''"),
    ],
)
def test_scores(found, message):
    with pytest.raises(UserError, match=f"^metrics.mine: .*{message}"):
        scores_of("metrics.mine", found)


def test_the_value_of_a_score_is_a_number():
    (score,) = scores_of("metrics.mine", (Score("x", torch.tensor(2.0), "lower"),))
    assert type(score.value) is float
