"""Optimizers: their settings reach the update, and their state can be restored."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from components.optimizers import adamw, lion, muon, schedule_free_adamw, sgd, soap
from framework import UserError

HAS_SOAP = find_spec("pytorch_optimizer") is not None
needs_soap = pytest.mark.skipif(not HAS_SOAP, reason="needs pytorch-optimizer")
HAS_SCHEDULEFREE = find_spec("schedulefree") is not None
needs_schedulefree = pytest.mark.skipif(not HAS_SCHEDULEFREE, reason="needs schedulefree")
ALL = [
    *(adamw, sgd, lion, muon, pytest.param(soap, marks=needs_soap)),
    pytest.param(schedule_free_adamw, marks=needs_schedulefree),
]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def step(model, optimizer, seed):
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("build", ALL)
def test_it_minimises(build):
    model = network()
    optimizer = build(list(model.named_parameters()), lr=1e-2)
    losses = [step(model, optimizer, seed=1) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    assert all(group["lr"] == 1e-2 for group in optimizer.param_groups)


@pytest.mark.parametrize("build", ALL)
def test_a_restored_state_goes_on_bit_for_bit(build):
    model = network()
    optimizer = build(list(model.named_parameters()))
    for seed in range(3):
        step(model, optimizer, seed)
    other = copy.deepcopy(model)
    restored = build(list(other.named_parameters()))
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for seed in range(3, 6):
        assert step(model, optimizer, seed) == step(other, restored, seed)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("build", ALL)
def test_the_learning_rate_can_be_scheduled(build):
    model = network()
    optimizer = build(list(model.named_parameters()))
    before = copy.deepcopy(model.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    step(model, optimizer, 0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_adamw_is_the_papers():
    optimizer = adamw(list(network().named_parameters()))
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (
        *(1e-4, (0.9, 0.95), 1e-8, 0.0),
    )


def test_adamw_makes_its_update():
    weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
    optimizer = adamw([("weight", weight)], lr=0.1, betas=(0.9, 0.95), weight_decay=0.5)
    weight.grad = torch.tensor([[3.0, -0.01]])
    optimizer.step()
    # After one step both averages are unbiased: a step of lr sign(g), after the decay lr wd weight.
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.95 - 0.1, -1.9 + 0.1]]))


def test_lion_makes_its_update():
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = lion([("weight", weight)], lr=0.1, betas=(0.5, 0.75), weight_decay=0.5)
    weight.grad = torch.tensor([1.0, 1.0, 0.0])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.85, -2.0, 2.85]))
    weight.grad = torch.tensor([-0.1, -1.0, 0.0])
    optimizer.step()  # momentum (0.25, 0.25, 0): signs of (0.075, -0.375, 0)
    expected = torch.tensor([0.85 * 0.95 - 0.1, -2.0 * 0.95 + 0.1, 2.85 * 0.95])
    torch.testing.assert_close(weight.detach(), expected)


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adamw():
    model = network()
    before = copy.deepcopy(model.state_dict())
    optimizer = muon(list(model.named_parameters()), lr=0.01)
    step(model, optimizer, 0)
    change = (before["0.weight"] - model[0].weight.detach()) / (0.01 * 0.2 * 6**0.5)
    values = torch.linalg.svdvals(change)
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.5  # the iteration is approximate
    bias = (before["0.bias"] - model[0].bias.detach()).abs()
    torch.testing.assert_close(bias, torch.full_like(bias, 0.01), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["classes", "patch_embedding"])
def test_muon_takes_no_embedding(name):
    weight = nn.Parameter(torch.eye(3))
    optimizer = muon([(f"condition.{name}.weight", weight)], lr=0.01)
    weight.grad = torch.arange(1.0, 10.0).reshape(3, 3)
    optimizer.step()
    torch.testing.assert_close(torch.eye(3) - weight.detach(), torch.full((3, 3), 0.01))


def schedule_free_by_hand(y, gradients, rates, betas, eps, weight_decay):
    """Algorithm 1 of the paper: x, y and z after AdamW's steps with its own learning rates."""
    x, z, v, total = y.clone(), y.clone(), torch.zeros_like(y), 0.0
    for step, (gradient, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        direction = gradient / ((v / (1 - betas[1] ** step)).sqrt() + eps)
        z = z - lr * (direction + weight_decay * y)
        total += max(rates[:step]) ** 2
        c = max(rates[:step]) ** 2 / total
        x = (1 - c) * x + c * z
        y = (1 - betas[0]) * z + betas[0] * x
    return x, y


@needs_schedulefree
def test_schedule_free_adamw_is_its_definition():
    g = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(7, 3, 4, generator=g, dtype=torch.float64)
    weight, still = nn.Parameter(start.clone()), nn.Parameter(torch.ones(2, dtype=torch.float64))
    settings = {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}
    optimizer = schedule_free_adamw([("a", weight), ("still", still)], lr=0.1, **settings)
    rates = [0.05, 0.1, 0.1, 0.08, 0.1, 0.0]
    for gradient, rate in zip(gradients, rates, strict=True):
        weight.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    x, y = schedule_free_by_hand(start, gradients, rates, **settings)
    torch.testing.assert_close(weight.detach(), y)
    found, untouched = optimizer.found_weights()
    torch.testing.assert_close(found, x)
    assert not torch.allclose(x, y)
    assert torch.equal(untouched, still)
    torch.testing.assert_close(weight.detach(), y)


@pytest.mark.skipif(HAS_SCHEDULEFREE, reason="schedulefree is installed")
def test_schedule_free_adamw_says_what_to_install():
    with pytest.raises(UserError, match=r"pip install 'tvmlab\[optimizers\]'"):
        schedule_free_adamw([("weight", nn.Parameter(torch.zeros(2, 2)))])


@pytest.mark.skipif(HAS_SOAP, reason="pytorch-optimizer is installed")
def test_soap_says_what_to_install():
    with pytest.raises(UserError, match=r"pip install 'tvmlab\[optimizers\]'"):
        soap([("weight", nn.Parameter(torch.zeros(2, 2)))])
