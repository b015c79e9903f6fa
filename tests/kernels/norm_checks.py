"""Norms with kernels against float64: outputs, tangents and gradients of all in all inputs."""

import torch
from torch import Tensor

from kernels.gelu import gelu
from kernels.head_norm import head_norm
from kernels.modulated_norm import modulated_norm

EPS = 1e-3  # large enough to be seen
EXACT = 1e-6  # of float32, relative Frobenius error


def error(found: Tensor, expected: Tensor) -> float:
    distance = (found.double() - expected.double()).norm().item()
    return distance / max(expected.double().norm().item(), 1e-9)


def normalised(x):
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPS)


def plain_modulated(x, vectors, branch=None):
    *gate, shift, scale = vectors.split(1, dim=1)
    u = x if branch is None else x + gate[0] * branch
    return u, normalised(u) * (1 + scale) + shift


def plain_heads(qkv, q_scale, k_scale, heads):
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).unbind(dim=-3)
    return normalised(q) * q_scale, normalised(k) * k_scale, v


def everything(function, primals, tangents, cotangents, compiled):
    """Outputs, their tangents if any, and gradients of all of them in all inputs."""
    torch.compiler.reset()
    primals = [x.detach().requires_grad_() for x in primals]
    tangents = [x.detach().requires_grad_() for x in tangents]

    def run(primals, tangents):
        if not tangents:
            return function(*primals)
        moving, still = primals[: len(tangents)], primals[len(tangents) :]
        outs, touts = torch.func.jvp(lambda *xs: function(*xs, *still), moving, tuple(tangents))
        return *outs, *touts

    if compiled:
        run = torch.compile(
            run, backend="inductor" if primals[0].is_cuda else "aot_eager", fullgraph=True
        )
    outs = run(tuple(primals), tangents)
    grads = torch.autograd.grad(outs, [*primals, *tangents], cotangents[: len(outs)])
    return [*outs, *grads]


def worst(fused, plain, primals, tangents, outputs, compiled):
    """The largest error; outputs give dtypes."""
    g = torch.Generator().manual_seed(1)
    wide = [[x.double() for x in xs] for xs in (primals, tangents)]
    expected = plain(*wide[0])
    cotangents = [torch.randn(y.shape, generator=g).to(y.device) for y in expected * 2]
    like = [c.to(y.dtype) for c, y in zip(cotangents, outputs * 2, strict=True)]
    found = everything(fused, primals, tangents, like, compiled)
    right = everything(plain, *wide, [c.double() for c in like], False)
    return max(map(error, found, right))


def worst_modulated(shape, dtype, dual, branch, compiled, device):
    g = torch.Generator().manual_seed(0)
    B, N, D = shape
    shapes = [(B, N, D), (B, 3 if branch else 2, D), *[(B, N, D)] * branch]
    types = [torch.float32, dtype, dtype]  # tokens stay in float32
    primals, tangents = (
        [torch.randn(s, generator=g).to(device, t) for s, t in zip(shapes, types, strict=False)]
        for _ in range(2)
    )

    def fused(x, vectors, branch=None):
        return modulated_norm(x, vectors, EPS, dtype, branch)

    outputs = (primals[0], primals[0].to(dtype))
    return worst(fused, plain_modulated, primals, tangents * dual, outputs, compiled)


def worst_heads(shape, dtype, dual, compiled, device):
    g = torch.Generator().manual_seed(0)
    B, N, heads, D = shape
    projection = (B, N, 3 * heads * D)
    primals = [torch.randn(s, generator=g).to(device) for s in (projection, (D,), (D,))]
    primals[0] = primals[0].to(dtype)
    tangents = [torch.randn(projection, generator=g).to(device, dtype)]

    def fused(*xs):
        return head_norm(*xs, heads, EPS)

    def plain(*xs):
        return plain_heads(*xs, heads)

    outputs = (primals[0],) * 3
    return worst(fused, plain, primals, tangents * dual, outputs, compiled)


def worst_gelu(shape, dtype, dual, compiled, device):
    g = torch.Generator().manual_seed(0)
    z, tz = (2 * torch.randn(shape, generator=g).to(device, dtype) for _ in range(2))

    def plain(x):
        return (torch.nn.functional.gelu(x, approximate="tanh"),)

    def fused(x):
        return (gelu(x),)

    return worst(fused, plain, [z], [tz] * dual, (z,), compiled)
