import torch
from torch import nn

from framework.training.averages import Averages


class Fixed:
    def __init__(self, value):
        self.value = value

    def decay(self, step):
        return self.value


def test_averages_start_as_copies_and_follow_the_weights():
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    averages = Averages(model, {"slow": Fixed(0.9), "now": Fixed(0.0)})
    start = model.weight.detach().clone()
    assert torch.equal(averages.networks["slow"].weight, start)
    with torch.no_grad():
        model.weight.add_(1.0)
    averages.update(1, list(model.parameters()))
    torch.testing.assert_close(averages.networks["slow"].weight, start + 0.1)
    assert torch.equal(averages.networks["now"].weight, model.weight)


def test_averages_carry_no_gradient_and_survive_a_round_trip():
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    averages = Averages(model, {"slow": Fixed(0.5)})
    assert not averages.networks["slow"].weight.requires_grad
    with torch.no_grad():
        model.weight.mul_(3.0)
    averages.update(1, list(model.parameters()))
    restored = Averages(model, {"slow": Fixed(0.5)})
    restored.load_state_dict(averages.state_dict())
    assert torch.equal(restored.networks["slow"].weight, averages.networks["slow"].weight)
