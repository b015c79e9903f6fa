"""The joint backward of attention and of the norm of its queries and keys against the two apart."""

import torch

from kernels.head_norm import backward_op as norm_backward
from kernels.head_norm import forward_op as norm_forward
from kernels.head_norm import joint_op
from kernels.ops import backward_op as attention_backward
from kernels.ops import forward_op as attention_forward
from tests.kernels.norm_checks import EPS, error


def arguments(shape, dtype, dual, device, cotangents=(True, True)):
    """Of the joint operation, for (B, N, H, D)."""
    B, N, H, D = shape
    g = torch.Generator().manual_seed(0)

    def draw(*sizes):
        return torch.randn(sizes, generator=g).to(device)

    def heads_first(x):
        return x.transpose(1, 2) if x.dim() == 4 else None

    qkv, tqkv = draw(B, N, 3 * H * D).to(dtype), draw(B, N, 3 * H * D).to(dtype)
    norm = (qkv, tqkv if dual else None, 1 + draw(D) / 3, 1 + draw(D) / 3, H)
    q, tq, k, tk, *_ = map(heads_first, norm_forward(*norm, EPS))
    v, tv = (x.unflatten(-1, (3, H, D))[:, :, 2].transpose(1, 2) for x in (qkv, tqkv))
    inputs, options = (q, k, v, tq, tk, tv if dual else None), (D**-0.5, False, False)
    saved = attention_forward(*inputs, *options)
    given = [heads_first(draw(B, N, H, D).to(dtype)) for _ in cotangents]
    do, dto = (x if there else None for x, there in zip(given, cotangents, strict=True))
    return do, dto, *inputs, *saved, *options, *norm, EPS


def apart(args):
    """What the joint operation gives, from the two in sequence."""
    attention, (qkv, tqkv, *norm), eps = args[:15], args[15:20], args[20]
    dq, dk, dv, *tangents = (x.transpose(1, 2) if x.dim() == 4 else None
                             for x in attention_backward(*attention))  # fmt: skip
    dtq, dtk, dtv = tangents
    return norm_backward(qkv, tqkv, *norm, dq, dtq, dk, dtk, dv, dtv, eps)


def worst_joint(args):
    """The largest difference between the joint operation and the two, parts added up."""
    found, expected = joint_op(*args), apart(args)
    whole = [error(a, b) for a, b in zip(found[:2], expected[:2], strict=True)]
    summed = [error(a.sum(0), b.sum(0)) for a, b in zip(found[2:], expected[2:], strict=True)]
    return max(*whole, *summed)
