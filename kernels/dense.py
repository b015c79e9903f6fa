"""Dense attention in plain torch operations: any device and dtype, float64 too.

Every operation has torch's own forward and reverse rules, so that this is also the reference.
It takes memory of B H Nq Nk elements several times over.
"""

import math

import torch
from torch import Tensor

from kernels.errors import check_inputs, refuse_mask_and_dropout
from kernels.transforms import split_dual


def default_scale(q: Tensor, scale: float | None) -> float:
    """The scale a of S = a q k^T: 1 / sqrt(D) unless given.

    Raises:
        TypeError: it is a tensor, whose gradient would be lost.
    """
    if isinstance(scale, Tensor):
        raise TypeError("scale must be a number: multiply q by one that is learned")
    return 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)


def dense_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """softmax(scale q k^T) v, dense, under any transform that torch has.

    Args:
        q: (B, H, Nq, D), any floating dtype.
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        attn_mask: not supported, must be None.
        dropout_p: not supported, must be 0.
        scale: factor of the logits, 1 / sqrt(D) by default.
        causal: query i sees keys 0..i only.

    Returns:
        (B, H, Nq, D) in the dtype of q; 16-bit logits go through a float32 softmax.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes do not fit.
        NotImplementedError: a mask or dropout.
    """
    refuse_mask_and_dropout(attn_mask, dropout_p)
    check_inputs(q, k, v)
    s = (q * default_scale(q, scale)) @ k.transpose(-2, -1)  # (B, H, Nq, Nk)
    if causal:
        keep = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril()
        s = s.masked_fill(~keep, float("-inf"))
    accurate = torch.float64 if s.dtype == torch.float64 else torch.float32
    return _softmax(s, accurate).to(v.dtype) @ v


def _softmax(s: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(s) / sum exp(s) along the last axis, in dtype.

    Under forward_ad torch's own writes the tangent over what its reverse rule has kept.
    """
    usual = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if usual or split_dual(s)[1] is None:
        return torch.softmax(s, dim=-1, dtype=dtype)
    s = s.to(dtype)
    e = (s - s.amax(-1, keepdim=True).detach()).exp()
    return e / e.sum(-1, keepdim=True)


def dense_attention_jvp(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tq: Tensor | None,
    tk: Tensor | None,
    tv: Tensor | None,
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Dense attention and its tangent from explicit tangents, by the formulas.

    S' = a (q' k^T + q k'^T), mu = rowsum(P∘S'), O' = (P∘(S' - mu)) v + P v'.

    Args:
        q: (B, H, Nq, D).
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        tq: tangent of q, or None for zero.
        tk: tangent of k, or None for zero.
        tv: tangent of v, or None for zero.
        scale: factor of the logits, 1 / sqrt(D) by default.
        causal: query i sees keys 0..i only.

    Returns:
        o and its tangent, both (B, H, Nq, D).

    Raises:
        TypeError, ValueError: dtypes, devices or shapes do not fit.
    """
    check_inputs(q, k, v, tq, tk, tv)
    a = default_scale(q, scale)
    s = (q * a) @ k.transpose(-2, -1)
    if causal:
        keep = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril()
        s = s.masked_fill(~keep, float("-inf"))
    accurate = torch.float64 if s.dtype == torch.float64 else torch.float32
    p = torch.softmax(s, dim=-1, dtype=accurate)
    o = p.to(v.dtype) @ v
    to = torch.zeros_like(o)
    if tq is not None or tk is not None:
        ts = torch.zeros_like(s)
        if tq is not None:
            ts = ts + (tq * a) @ k.transpose(-2, -1)
        if tk is not None:
            ts = ts + (q * a) @ tk.transpose(-2, -1)
        if causal:
            ts = ts.masked_fill(~keep, 0.0)
        ts = ts.to(accurate)
        mu = (p * ts).sum(-1, keepdim=True)
        to = to + (p * (ts - mu)).to(v.dtype) @ v
    if tv is not None:
        to = to + p.to(v.dtype) @ tv
    return o, to
