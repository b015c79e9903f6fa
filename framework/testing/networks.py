"""Checks of the parts of a network."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from framework.protocols import Role, has_blocks
from framework.testing.building import BATCH, HIDDEN
from framework.testing.findings import Findings, Given, Hint, Still, differentiable, tensor


def _times() -> tuple[Tensor, Tensor]:
    """Return t and s, (BATCH,) each, ends and equal ones among them."""
    return torch.tensor([1.0, 0.7, 0.5, 0.2]), torch.tensor([0.0, 0.3, 0.5, 0.1])


def time_embedding(embed: Any, given: Given) -> Findings:
    """Check (B,) -> (B, D), differentiable in time, both ends included."""
    time = torch.tensor([1.0, 0.7, 0.3, 0.0])
    kept, features = time.clone(), embed(time)
    if not torch.equal(time, kept):
        yield "forward(time) changes the times that it is given"
        return
    yield from tensor("forward(time)", features, (BATCH, given["hidden_size"]), torch.float32)
    if not isinstance(features, Tensor):
        return
    if not features.requires_grad and any(p.requires_grad for p in embed.parameters()):
        yield "forward(time) is cut off from its parameters: no gradient flows"
    yield from differentiable("forward(time)", embed, time, reverse=False)
    yield from _moving("forward(time)", embed, time)


def _moving(name: str, function: Callable[..., Tensor], time: Tensor) -> Findings:
    """Hint at features that change with time while their derivative says that they do not.

    A loss with tangents by time would train on zeros: times that are rounded, detached or counted.
    """
    out = function(time)
    if bool((out == out[:1]).all()):
        return
    try:
        tangent = torch.func.jvp(function, (time,), (torch.ones_like(time),))[1]
    except (RuntimeError, NotImplementedError, TypeError):  # said where it is differentiated
        return
    if not tangent.any():
        yield Still(f"{name} changes with time, and its forward-mode derivative is zero")


def second_time(part: Any, given: Given) -> Findings:
    """Check (B,), (B,) -> (B, D), differentiable in both times."""
    t, s = _times()
    out = part(t, s)
    wanted = (BATCH, 1) if out.shape == (BATCH, 1) else (BATCH, HIDDEN)  # one that ignores s
    yield from tensor("forward(t, s)", out, wanted)
    yield from differentiable("forward(t, s)", part, t, s, reverse=False)


def normalization(norm: Any, given: Given) -> Findings:
    """Check (..., dim) -> (..., dim) in the same dtype."""
    yield from _like(norm, (BATCH, 3, given["dim"]))


def qk_norm(norm: Any, given: Given) -> Findings:
    """Check (B, N, H, dim) -> the same shape and dtype."""
    yield from _like(norm, (BATCH, 2, 5, given["dim"]))


def _like(norm: Any, shape: tuple[int, ...]) -> Findings:
    """Check that a norm keeps shape and dtype, bfloat16 under autocast as a run has it."""
    x = torch.randn(shape, generator=_generator("x"))
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            out = norm(x.to(dtype))
        yield from tensor("forward(x)", out, shape, dtype)
    yield from differentiable("forward(x)", norm, x)


def initializer(initialize: Any, given: Given) -> Findings:
    """Check that every role's weight is filled, from the generator alone."""
    for role in Role:
        shape = (8, 1, 2, 2) if role is Role.PATCH_EMBEDDING else (8, 6)
        weights = []
        for _ in range(2):
            weight = torch.full(shape, torch.nan)
            initialize(weight, role, _generator(role))
            weights.append(weight)
        yield from tensor(f"the weight of role {role}", weights[0], shape)
        if not torch.equal(*weights):
            yield f"role {role} draws other numbers from the same generator"


def attention(attend: Any, given: Given) -> Findings:
    """Check softmax(q k^T / sqrt(d)) v and its tangent, which may be refused but not wrong.

    Another kind of attention may be meant: its output is hinted at, its tangent is its own.
    """
    q, k, v = torch.randn(3, BATCH, 2, 5, 8, generator=_generator("qkv"))
    expected = _softmax_attention(q, k, v)
    out = attend(q, k, v)
    wrong = list(tensor("its output", out, expected.shape))
    yield from wrong
    if wrong:
        return
    if not torch.allclose(out, expected, atol=1e-4):
        yield Hint("its output is not softmax(q k^T / sqrt(d)) v")
        return
    tangents = tuple(torch.ones_like(each) * each.cos() for each in (q, k, v))
    try:
        tangent = torch.func.jvp(attend, (q, k, v), tangents)[1]
    except Exception:  # noqa: BLE001  a kernel refuses tangents in its own way
        return
    wanted = torch.func.jvp(_softmax_attention, (q, k, v), tangents)[1]
    if not torch.allclose(tangent, wanted, atol=1e-3):
        yield "its forward-mode tangent is wrong: mend it or refuse tangents"


def model(network: Any, given: Given) -> Findings:
    """Check F shaped like x, its derivatives, and the initialisation from named streams."""
    network.initialize(_generator)
    first = {name: value.detach().clone() for name, value in network.named_parameters()}
    network.initialize(_generator)
    for name, value in network.named_parameters():
        yield from tensor(f"the initial value of {name}", value.detach(), value.shape)
        if not torch.equal(value, first[name]):
            yield f"initialize draws {name} differently from the same stream"
    t, s = _times()
    x = torch.randn(BATCH, *given["shape"], generator=_generator("x"))
    c, w = torch.arange(BATCH) % (given["num_classes"] + 1), torch.ones(BATCH)
    out = network(x, t, s, c, w)
    yield from tensor("F", out, x.shape)
    yield from differentiable("F", lambda *moving: network(*moving, c, w), x, t, s, reverse=False)
    out.square().sum().backward()
    if all(p.grad is None or not p.grad.any() for p in network.parameters()):
        out = (network(x, t, s, c, w) - 1).square().sum()  # a model may start at F = 0
        out.backward()
    if all(p.grad is None or not p.grad.any() for p in network.parameters()):
        yield "no parameter has a gradient"
    if has_blocks(network):
        yield from _blocks(network, (x, t, s, c, w))


def _blocks(network: Any, inputs: tuple[Tensor, ...]) -> Findings:
    tokens, condition = network.embed(*inputs)
    for block in network.blocks:
        tokens = block(tokens, condition)
    if not torch.allclose(network.head(tokens, condition), network(*inputs), atol=1e-5):
        yield "forward is not head(blocks(embed(...)))"


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


def _generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


CHECKS: dict[str, Callable[[Any, Given], Findings]] = {
    "time_embedding": time_embedding,
    "second_time": second_time,
    "normalization": normalization,
    "modulation_norm": normalization,
    "qk_norm": qk_norm,
    "initializer": initializer,
    "attention": attention,
    "model": model,
}
