"""When gradients leave: once, complete, in one order, and in the last backward pass only."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from framework.distribution import sums
from framework.distribution.placement import Replicated

WIDTH = 8


class Arrived:
    def wait(self):
        pass


@pytest.fixture
def sent(monkeypatch):
    """As if two processes had the same gradients; what leaves, in its order."""
    found = []

    def all_reduce(flat, op=None, *, async_op):
        assert async_op
        if flat.dtype == torch.uint8:  # who has a gradient: the same ones
            return Arrived()
        found.append(flat.clone())
        flat.mul_(2)
        return Arrived()

    def summed_together(parts):
        found.extend(part.clone().flatten() for part in parts)
        for part in parts:
            part.mul_(2)
        return Arrived()

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(sums, "summed_together", summed_together)
    monkeypatch.setattr(sums, "FIRST_ELEMENTS", 1)  # a group each
    monkeypatch.setattr(sums, "GROUP_ELEMENTS", 1)
    return found


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))


def placed(layers):
    placement = Replicated(2)
    placement.place(layers)
    return placement


def loss(layers, run=lambda layer, x: layer(x)):
    """Go through all layers twice, so that a gradient is complete in the second backward only."""
    x = torch.linspace(0, 1, WIDTH)
    first = x
    for layer in layers:
        first = run(layer, first).tanh()
    second = first.detach() + x
    for layer in layers:
        second = run(layer, second).tanh()
    return first.square().sum() + second.square().sum()


def gradients(layers, times=1):
    for _ in range(times):
        loss(layers).backward()
    found = [p.grad for p in layers.parameters()]
    layers.zero_grad()
    return found


def is_twice(layers, expected):
    for parameter, gradient in zip(layers.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


def in_parts(layer, x):
    return checkpoint(layer, x, use_reentrant=False)


def compiled(layer, x):
    return torch.compile(lambda layer, x: layer(x), backend="aot_eager", fullgraph=True)(layer, x)


@pytest.mark.parametrize("run", [lambda layer, x: layer(x), in_parts, compiled])
def test_each_gradient_leaves_once_when_it_is_complete(sent, layers, run):
    expected = gradients(layers)
    placement = placed(layers)
    total = loss(layers, run)
    placement.before_backward(last=True)
    total.backward()
    assert len(sent) == len(expected)  # nothing is left for the end
    placement.reduce()
    assert len(sent) == len(expected)
    for left, gradient in zip(sent, reversed(expected), strict=True):
        torch.testing.assert_close(left, gradient.flatten())
    is_twice(layers, expected)


def test_the_last_layers_leave_before_the_first_is_reached(sent, layers):
    placement = placed(layers)
    total = loss(layers)
    placement.before_backward(last=True)
    counts = []
    layers[0].bias.register_hook(lambda gradient: counts.append(len(sent)))
    total.backward()
    assert counts == [4]


def test_only_the_last_micro_batch_sends_and_it_sends_the_sum(sent, layers):
    expected = gradients(layers, times=3)
    placement = placed(layers)
    for last in (False, False, True):
        total = loss(layers)
        placement.before_backward(last)
        total.backward()
        assert len(sent) == (len(expected) if last else 0)
    placement.reduce()
    is_twice(layers, expected)


def test_groups_of_several_arrive_where_they_belong(sent, layers, monkeypatch):
    monkeypatch.setattr(sums, "GROUP_ELEMENTS", 2 * WIDTH**2)
    expected = gradients(layers)
    placement = placed(layers)
    for _ in range(2):  # steps
        layers.zero_grad()
        total = loss(layers)
        placement.before_backward(last=True)
        total.backward()
        placement.reduce()
        is_twice(layers, expected)


def test_what_is_not_asked_to_leave_early_leaves_in_the_end_at_every_step(sent, layers):
    expected = gradients(layers)
    placement = placed(layers)
    placement.before_backward(last=False)
    for step in (1, 2):
        layers.zero_grad()
        loss(layers).backward()
        assert len(sent) == (step - 1) * len(expected)
        placement.reduce()
        assert len(sent) == step * len(expected)
        is_twice(layers, expected)


def test_groups_leave_in_their_order_whatever_completes_first(sent, layers):
    expected = gradients(layers)
    placement = placed(nn.ModuleList(reversed(layers)))  # the backward pass ends with group 0
    total = loss(layers)
    placement.before_backward(last=True)
    counts = []
    layers[0].bias.register_hook(lambda gradient: counts.append(len(sent)))
    total.backward()
    assert counts == [0]
    placement.reduce()
    order = [p.numel() for p in reversed(list(nn.ModuleList(reversed(layers)).parameters()))]
    assert [len(left) for left in sent] == order
    is_twice(layers, expected)


def test_a_gradient_that_autograd_still_reads_is_not_summed_under_it(sent):
    lifted, other = nn.Parameter(torch.ones(2 * WIDTH)), nn.Parameter(torch.ones(2, WIDTH))
    model = nn.ParameterList([other, lifted])
    placement = placed(model)
    added = other.exp() + lifted.view(2, WIDTH)  # whose gradients share their memory
    placement.before_backward(last=True)
    added.square().sum().backward()
    placement.reduce()
    both = 2 * 2 * (torch.e + 1)  # two processes, and the derivative of the square
    torch.testing.assert_close(lifted.grad, torch.full_like(lifted, both))
    torch.testing.assert_close(other.grad, torch.full_like(other, both * torch.e))


def test_gradients_that_share_their_memory_are_summed_once_each(sent):
    model = nn.ParameterList([torch.ones(2, WIDTH), torch.ones(2 * WIDTH)])
    placement = placed(model)
    placement.before_backward(last=False)
    (model[0].view(1, -1) + model[1].view(1, -1)).square().sum().backward()
    memory = {parameter.grad.untyped_storage().data_ptr() for parameter in model}
    assert len(memory) == 1  # autograd handed out views of one tensor
    placement.reduce()
    for parameter in model:
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 2 * 4.0))


def test_types_of_parameters_do_not_mix(sent):
    model = nn.ParameterList([torch.ones(3), torch.ones(3, dtype=torch.float64)])
    placement = placed(model)
    placement.before_backward(last=True)
    sum(p.sum() for p in model).backward()
    placement.reduce()
    assert [left.dtype for left in sent] == [torch.float64, torch.float32]
    assert [p.grad.tolist() for p in model] == [[2.0] * 3] * 2


def test_in_the_end_types_do_not_mix_and_what_took_no_part_counts_as_zero(sent):
    model = nn.ParameterList([torch.ones(3), torch.ones(2, dtype=torch.float64), torch.ones(2)])
    placement = placed(model)
    placement.before_backward(last=False)
    (model[0].sum() + model[1].sum()).backward()
    where = model[0].grad
    placement.reduce()
    assert [left.tolist() for left in sent] == [[0, 0], [1, 1], [1, 1, 1]]
    assert where is model[0].grad
    assert [where.tolist(), model[1].grad.tolist(), model[2].grad] == [[2.0] * 3, [2.0] * 2, None]


def test_what_took_no_part_counts_as_zero_and_stays_without_gradient(sent, layers):
    placement = placed(layers)
    total = loss(layers[:2])
    placement.before_backward(last=True)
    total.backward()
    assert not sent  # the last layer is the first group
    placement.reduce()
    assert [bool(left.any()) for left in sent] == [False, False, True, True, True, True]
    assert layers[2].weight.grad is None


def test_backward_passes_outside_of_a_step_send_nothing(sent, layers):
    placement = placed(layers)
    loss(layers).backward()
    placement.before_backward(last=True)
    placement.reduce()
    count = len(sent)
    loss(layers).backward()
    assert len(sent) == count


def test_one_process_leaves_parameters_alone(sent, layers):
    placement = Replicated(1)
    placement.place(layers)
    placement.before_backward(last=True)
    expected = gradients(layers)
    loss(layers).backward()
    placement.reduce()
    assert not sent
    torch.testing.assert_close([p.grad for p in layers.parameters()], expected)
