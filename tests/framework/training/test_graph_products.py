"""Products of few rows by one weight."""

import pytest
import torch
from torch import nn

from framework.passes import block_forward, block_pair
from framework.training.lean_graphs import lean_graphs
from tests.kernels.lean_compiler import lean

B, N, D = 3, 200, 8
MM = torch.ops.aten.mm.default


class Conditioned(nn.Module):
    """A layer of tokens, gated by `layers` of the condition."""

    def __init__(self, deep=False, scaled=False):
        super().__init__()
        self.mix, self.gate = nn.Linear(D, D), nn.Linear(D, D)
        self.deep, self.scaled = deep, scaled

    def forward(self, tokens, condition):
        gate = self.gate(condition.sin())
        if self.deep:
            gate = self.gate(gate.tanh())
        if self.scaled:
            gate = gate + self.gate.weight[0]
        return tokens + gate[:, None] * self.mix(tokens).tanh()


def inputs(dtype=torch.float64):
    draw = torch.Generator().manual_seed(5)
    shapes = [(B, N, D), (B, N, D), (B, D), (B, D), (B, N, D), (B, D)]
    return [torch.randn(s, generator=draw, dtype=dtype).requires_grad_() for s in shapes]


def step(run, block, given):
    """Outputs and gradients of a pair of passes."""
    outs = run(block, False, *given)
    sum((out.sin() * (place + 1)).sum() for place, out in enumerate(outs)).backward()
    found = [*(out.detach() for out in outs), *(x.grad for x in given)]
    return found + [parameter.grad for parameter in block.parameters()]


def compiled(**kept):
    torch.compiler.reset()
    backwards = []
    run = torch.compile(block_pair, backend=lean(backwards, **kept), fullgraph=True)
    return run, backwards


def block_of(**kind):
    torch.manual_seed(0)
    return Conditioned(**kind).double()


def products(graph, rows):
    """How many products there are of matrices with so many rows, or summed over them."""
    found = [node for node in graph.graph.nodes if node.target is MM]
    return sum(node.args[0].meta["val"].shape[0] == rows for node in found), sum(
        node.args[0].meta["val"].shape[1] == rows for node in found
    )


@pytest.mark.parametrize("kind", [{}, {"deep": True}, {"scaled": True}])
def test_joined_products_are_the_same(kind):
    run, backwards = compiled()
    expected = step(block_pair, block_of(**kind), inputs())
    found = step(run, block_of(**kind), inputs())
    assert len(backwards) == 1
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


ALIKE = {
    "two": lambda W, V, x, y: ((x @ W).sin(), (y @ W).cos()),
    "transposed": lambda W, V, x, y: ((x @ W).sin(), (y @ W.T).cos(), x @ W.T),
    "transposed gradients": lambda W, V, x, y: ((x @ W).sin(), y @ W.T.contiguous()),
    "of two types": lambda W, V, x, y: ((x.float() @ W.float()).double().sin(), y @ W),
    "rounded": lambda W, V, x, y: (x @ W.float().double(), (y @ W).sin()),
    "weighted": lambda W, V, x, y: (
        torch.addmm(x, x, W, beta=2.0),
        torch.addmm(y, y, W, alpha=3.0),
    ),
    "one after the other": lambda W, V, x, y: ((x @ W).sin() @ V, (y @ V).sin() @ W),
    "of one input": lambda W, V, x, y: ((x @ W).sin(), (x @ V).cos()),
    "not turned": lambda W, V, x, y: ((x @ W).permute(0, 1).sin(), (x @ V).permute(0, 1).cos()),
    "by each other": lambda W, V, x, y: (W @ V, (V @ W).sin(), W @ W, V @ V),
    "of rows of two widths": lambda W, V, x, y: ((x[:1] @ W).sin(), (y @ W).sin(), x[:0] @ W),
    "of the caller's stacks": lambda W, V, x, y: (
        (torch.cat((x, y)) @ W).sin(),
        (torch.cat((y, x)) @ W).cos(),
        (torch.cat((y[:3], x, y[3:])) @ W).cos(),
    ),
    "of one stack": lambda W, V, x, y: (
        (torch.cat((x, y)) @ W).sin(),
        torch.cat((x, y), 1) @ W[:, :1].repeat(2, 1),
    ),
    "in two types": lambda W, V, x, y: ((x @ W).sin(), (y.float() @ W.float()).double()),
}


@pytest.mark.parametrize("of", ALIKE.values(), ids=ALIKE)
def test_what_looks_alike_is_the_same(of):
    def outputs_and_gradients(run):
        draw = torch.Generator().manual_seed(7)
        leaves = [torch.randn(D, D, generator=draw, dtype=torch.float64) for _ in range(4)]
        outs = run(*(each.requires_grad_() for each in leaves))
        sum((out.sin() * (place + 1)).sum() for place, out in enumerate(outs)).backward()
        return [out.detach() for out in outs], [each.grad for each in leaves]

    torch.compiler.reset()
    found = outputs_and_gradients(torch.compile(of, backend=lean([]), fullgraph=True))
    torch.testing.assert_close(found, outputs_and_gradients(of), rtol=1e-5, atol=1e-5)


def test_three_passes_multiply_and_sum_once():
    run, backwards = compiled()
    step(run, block_of(), inputs())
    (backward,) = backwards
    assert products(backward, 3 * B) == (1, 1)
    assert products(backward, B) == (0, 0)
    assert products(backward, B * N) == (3, 3)  # of tokens, each pass its own


def test_rows_that_were_put_together_are_kept_so():
    run, backwards = compiled()
    with lean_graphs():
        step(run, block_of(), inputs())
    joined = [node for node in backwards[0].graph.nodes if node.target is MM]
    (total,) = (each for each in joined if each.args[0].meta["val"].shape[1] == 3 * B)
    assert total.args[1].op == "placeholder"


def test_products_that_wait_for_each_other_stay_apart():
    run, backwards = compiled()
    step(run, block_of(deep=True), inputs())
    assert products(backwards[0], 3 * B)[0] == 0


def test_a_gradient_that_is_not_of_products_alone_stays_a_sum():
    run, backwards = compiled()
    step(run, block_of(scaled=True), inputs())
    assert products(backwards[0], 3 * B)[1] == 0


def test_one_pass_stays_as_it_is():
    torch.compiler.reset()
    backwards = []
    tokens, _, condition, *_ = inputs()
    run = torch.compile(block_forward, backend=lean(backwards), fullgraph=True)
    run(block_of(), tokens, condition).sum().backward()
    assert products(backwards[0], B) == (1, 1)


@pytest.mark.parametrize("weights", [True, False])
def test_cast_weights_are_kept_or_cast_again(weights):
    run, backwards = compiled(weights=weights)
    block = block_of().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(run, block, inputs(torch.float32))
    types = [
        node.meta["val"].dtype
        for node in backwards[0].graph.nodes
        if node.op == "placeholder" and sorted(node.meta["val"].shape) == [D, D]
    ]
    assert types == [torch.bfloat16 if weights else torch.float32] * 2
