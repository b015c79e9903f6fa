import pytest
import torch
from torch.nn.functional import linear

from framework.duals import ProductRules

CASES = {
    "linear": lambda x, m: linear(x, m),
    "linear with bias": lambda x, m: linear(x, m, bias=m[0]),
    "x @ constant": lambda x, m: x @ m.mT,
    "constant @ x": lambda x, m: m @ x.mT,
    "product of two duals": lambda x, m: x @ x.mT @ (m @ m.mT),
    "linear with a moving weight": lambda x, m: linear(m, x, bias=x.sum(dim=1)),
}


@pytest.mark.parametrize("case", CASES)
def test_values_tangents_and_gradients_are_pytorchs_own(case):
    generator = torch.Generator().manual_seed(0)
    x, dx, constant = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    constant.requires_grad_()

    def jvp():
        y, dy = torch.func.jvp(lambda x: CASES[case](x, constant), (x,), (dx,))
        return y, dy, *torch.autograd.grad((y * dy).sum(), constant)

    expected = jvp()
    with ProductRules():
        ours = jvp()
    torch.testing.assert_close(ours, expected)
