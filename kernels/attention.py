"""What users call: attention that is right under forward mode, reverse mode and the compiler."""

import logging

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import scaled_dot_product_attention

from kernels.dense import default_scale, dense_attention, dense_attention_jvp
from kernels.errors import (
    FLASH_DTYPES,
    HEAD_SIZE_LIMIT,
    check_flash,
    check_inputs,
    refuse_mask_and_dropout,
)
from kernels.launch import INTERPRETED
from kernels.ops import forward
from kernels.transforms import ATTENTION, Level, refuse_tangents, split_dual, surrounding

log = logging.getLogger("tvmlab.kernels")
_said: set[str] = set()


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    causal: bool = False,
    tf32: bool = False,
) -> Tensor:
    """softmax(scale q k^T) v with the Triton kernels where a tangent comes in.

    Under torch.func.jvp or torch.autograd.forward_ad the result carries its tangent, through
    which reverse mode goes. Without a tangent this is torch's scaled_dot_product_attention.

    Args:
        q: (B, H, Nq, D), bfloat16, float16 or float32 on an NVIDIA GPU, D <= 256.
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        attn_mask: not supported, must be None.
        dropout_p: not supported, must be 0.
        scale: factor of the logits, > 0; 1 / sqrt(D) by default.
        causal: query i sees keys 0..i only.
        tf32: let float32 products use tensor cores at 10-bit precision.

    Returns:
        (B, H, Nq, D), memory in the order of q.

    Raises:
        TypeError: a dtype without kernel, or dtypes that differ.
        ValueError: shapes or devices that do not fit.
        NotImplementedError: a mask, dropout, scale <= 0, vmap, nested forward mode, or (raised
            by the second pass) reverse mode over reverse mode.
    """
    refuse_mask_and_dropout(attn_mask, dropout_p)
    check_inputs(q, k, v)
    level = surrounding((q, k, v), ATTENTION)
    (q, tq), (k, tk), (v, tv) = split_dual(q), split_dual(k), split_dual(v)
    a = default_scale(q, scale)
    check_flash(q, a, INTERPRETED)
    if tq is None and tk is None and tv is None:
        return scaled_dot_product_attention(q, k, v, scale=a, is_causal=causal)
    o, to = forward(level, q, k, v, tq, tk, tv, a, causal, tf32)
    dual: Tensor = forward_ad.make_dual(o, to)
    return dual


def sdpa_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    causal: bool = False,
) -> Tensor:
    """torch's scaled_dot_product_attention, for losses without a tangent.

    Args and returns as `dense_attention`.

    Raises:
        NotImplementedError: a dual tensor comes in (torch's fused kernels have no JVP), or a
            mask or dropout.
        TypeError, ValueError: dtypes, devices or shapes do not fit.
    """
    refuse_mask_and_dropout(attn_mask, dropout_p)
    check_inputs(q, k, v)
    if any(split_dual(x)[1] is not None for x in (q, k, v)):
        raise NotImplementedError(
            "sdpa has no JVP: choose the attention flash_jvp (NVIDIA GPU), dense or auto"
        )
    a = default_scale(q, scale)
    return scaled_dot_product_attention(q, k, v, scale=a, is_causal=causal)


def auto_choice(q: Tensor, scale: float | None = None) -> tuple[str, str]:
    """The backend that `attention` takes for q (B, H, N, D), and why, in a few words."""
    if q.device.type != "cuda" and not INTERPRETED:
        return "dense", f"the tensors are on {q.device.type}"
    if q.device.type not in ("cuda", "cpu"):
        return "dense", f"the tensors are on {q.device.type}"
    if q.dtype not in FLASH_DTYPES:
        return "dense", f"the kernels have no {q.dtype}"
    if q.shape[-1] > HEAD_SIZE_LIMIT:
        return "dense", f"head size {q.shape[-1]} exceeds {HEAD_SIZE_LIMIT}"
    if scale is not None and scale <= 0.0:
        return "dense", "scale is not positive"
    return "flash_jvp", "interpreted" if INTERPRETED else "Triton kernels on an NVIDIA GPU"


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    causal: bool = False,
    tf32: bool = False,
) -> Tensor:
    """softmax(scale q k^T) v, by the backend that suits device, dtype and shape.

    A drop-in for scaled_dot_product_attention: plain, under torch.func.jvp and forward_ad,
    reverse mode over either, in torch.compile, in activation checkpointing. Says once for each
    choice, at level INFO of the logger "tvmlab.kernels", what it took and why.

    Args:
        q: (B, H, Nq, D), any floating dtype.
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        attn_mask: not supported, must be None.
        dropout_p: not supported, must be 0.
        scale: factor of the logits, 1 / sqrt(D) by default.
        causal: query i sees keys 0..i only.
        tf32: let the kernels' float32 products use tensor cores at 10-bit precision.

    Returns:
        (B, H, Nq, D).

    Raises:
        TypeError, ValueError: dtypes, devices or shapes do not fit.
        NotImplementedError: a mask or dropout; on the kernels also vmap, nested forward mode
            and a second reverse pass.
    """
    refuse_mask_and_dropout(attn_mask, dropout_p)
    check_inputs(q, k, v)
    backend, why = auto_choice(q, scale)
    _say_once(backend, why)
    if backend == "dense":
        return dense_attention(q, k, v, scale=scale, causal=causal)
    return flash_attention(q, k, v, scale=scale, causal=causal, tf32=tf32)


def attention_jvp(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tq: Tensor | None,
    tk: Tensor | None,
    tv: Tensor | None,
    *,
    scale: float | None = None,
    causal: bool = False,
    tf32: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attention and its tangent from explicit tangents; None stands for zero and costs nothing.

    O = P v, O' = (P∘R) v + P v' with P = softmax(S), S' = a (q' k^T + q k'^T),
    R = S' - rowsum(P∘S').

    Args:
        q: (B, H, Nq, D), any floating dtype.
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        tq: tangent of q, or None.
        tk: tangent of k, or None.
        tv: tangent of v, or None.
        scale: factor a of the logits, 1 / sqrt(D) by default.
        causal: query i sees keys 0..i only.
        tf32: let the kernels' float32 products use tensor cores at 10-bit precision.

    Returns:
        o and its tangent, both (B, H, Nq, D); reverse mode goes through both, to all six.

    Raises:
        TypeError, ValueError: dtypes, devices or shapes do not fit.
        NotImplementedError: on the kernels: vmap, forward mode around this, a second reverse
            pass.
    """
    six = (q, k, v, tq, tk, tv)
    check_inputs(*six)
    backend, why = auto_choice(q, scale)
    _say_once(backend, why)
    if backend == "dense":
        return dense_attention_jvp(q, k, v, tq, tk, tv, scale=scale, causal=causal)
    a = default_scale(q, scale)
    if tq is None and tk is None and tv is None:
        o = scaled_dot_product_attention(q, k, v, scale=a, is_causal=causal)
        return o, torch.zeros_like(o)
    level = surrounding(six, ATTENTION)
    if level is not Level.DISPATCHED:  # there the op itself refuses them
        refuse_tangents(six, ATTENTION)
    return forward(level, *six, a, causal, tf32)


def _say_once(backend: str, why: str) -> None:
    if backend not in _said:
        _said.add(backend)
        log.info("attention: %s (%s)", backend, why)


# What torch.compiler.assume_constant_result sets; but that imports the compiler, for a second.
vars(_say_once)["_dynamo_marked_constant"] = True
