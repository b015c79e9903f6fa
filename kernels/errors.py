"""What is refused, and what to change: never a wrong number without a word."""

from collections.abc import Mapping

import torch
from torch import Tensor

HEAD_SIZE_LIMIT = 256
FLASH_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def check_inputs(q: Tensor, k: Tensor, v: Tensor, *tangents: Tensor | None) -> None:
    """Check q (B, H, Nq, D), k and v (B, H, Nk, D) and tangents shaped like them.

    Raises:
        TypeError: something is not a tensor, not floating, or dtypes differ.
        ValueError: shapes or devices do not go together.
    """
    if _obviously_fit(q, k, v, *tangents):
        return
    named = list(zip(("q", "k", "v", "tq", "tk", "tv"), (q, k, v, *tangents), strict=False))
    for name, x in named:
        if x is None:
            continue
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(x).__name__}")
        if x.dtype != q.dtype:
            raise TypeError(f"{name} is {x.dtype}, q is {q.dtype}: cast them to one dtype")
        if x.device != q.device:
            raise ValueError(f"{name} is on {x.device}, q on {q.device}: move them together")
        if x.dim() != 4:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}: "
                "attention takes (batch, heads, tokens, head size)"
            )
    if not q.dtype.is_floating_point:
        raise TypeError(f"attention needs floating-point tensors, not {q.dtype}")
    B, H, _, D = q.shape
    if k.shape[:2] != (B, H) or k.shape[3] != D:
        raise ValueError(
            f"k {tuple(k.shape)} does not fit q {tuple(q.shape)}: batch, heads (no grouped "
            "queries) and head size must be equal"
        )
    if v.shape != k.shape:
        raise ValueError(f"v {tuple(v.shape)} must have the shape of k {tuple(k.shape)}")
    for (name, x), like in zip(named[3:], (q, k, v)):
        if x is not None and x.shape != like.shape:
            raise ValueError(f"{name} {tuple(x.shape)} must have shape {tuple(like.shape)}")


def _obviously_fit(q: Tensor, *others: Tensor | None) -> bool:
    """The usual case, self-attention, in a few microseconds."""
    if not isinstance(q, Tensor) or q.dim() != 4 or not q.dtype.is_floating_point:
        return False
    shape, dtype, device = q.shape, q.dtype, q.device
    for x in others:
        if x is None:
            continue
        if not isinstance(x, Tensor) or x.dtype is not dtype:
            return False
        if x.shape != shape or x.device != device:
            return False
    return True


def refuse_mask_and_dropout(attn_mask: object, dropout_p: float) -> None:
    """The arguments of scaled_dot_product_attention that have no rule here."""
    if attn_mask is not None:
        raise NotImplementedError(
            "attention takes no attn_mask: use causal=True, or torch's "
            "scaled_dot_product_attention where no tangent is needed"
        )
    if dropout_p != 0.0:
        raise NotImplementedError("attention has no dropout: pass dropout_p=0.0")


def check_flash(q: Tensor, scale: float, interpreted: bool) -> None:
    """What the Triton kernels need beyond check_inputs.

    Raises:
        TypeError: the dtype has no kernel.
        ValueError: the tensor is not on a GPU, or the head size exceeds 256.
        NotImplementedError: scale is not positive.
    """
    if q.dtype not in FLASH_DTYPES:
        raise TypeError(
            f"flash_jvp has no kernel for {q.dtype}: use the dense backend, "
            "or bfloat16, float16 or float32"
        )
    if q.device.type != "cuda" and not (interpreted and q.device.type == "cpu"):
        raise ValueError(
            f"flash_jvp needs tensors on an NVIDIA GPU, not on {q.device}: use the dense backend "
            "(or start Python with TRITON_INTERPRET=1 to test the kernels on a CPU)"
        )
    if q.shape[3] > HEAD_SIZE_LIMIT:
        raise ValueError(
            f"flash_jvp takes head sizes up to {HEAD_SIZE_LIMIT}, not {q.shape[3]}: "
            "use the dense backend or more heads"
        )
    if not scale > 0.0:
        raise NotImplementedError(f"flash_jvp needs scale > 0, got {scale}: use the dense backend")


def check_fused(
    tensors: Mapping[str, tuple[Tensor, tuple[int, ...]]], row: int, longest: int, interpreted: bool
) -> None:
    """What fused kernels need of tensors, each given by name with the shape it has to have.

    Args:
        row: how many numbers are normalised together, `longest` at most.

    Raises:
        TypeError: a dtype has no kernel.
        ValueError: a shape or device does not fit, or the row is too long.
    """
    for name, (x, shape) in tensors.items():
        if x.dtype not in FLASH_DTYPES:
            raise TypeError(f"{name} is {x.dtype}: there are kernels for bf16, fp16 and fp32")
        if x.device.type != "cuda" and not (interpreted and x.device.type == "cpu"):
            raise ValueError(
                f"{name} is on {x.device}: the kernels need an NVIDIA GPU (or Python "
                "started with TRITON_INTERPRET=1, to test them on a CPU)"
            )
        if tuple(x.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, and needs {shape}")
    if row > longest:
        raise ValueError(f"the kernels take up to {longest} numbers together, not {row}")
