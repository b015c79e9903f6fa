"""Protocols of the parts of a network.

A part is a plain `torch.nn.Module`: its tangent comes from `torch.func.jvp` in the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Protocol, TypeAlias, TypeGuard

import torch
from torch import Tensor, nn

Tokens: TypeAlias = Tensor | tuple[Tensor, ...]
"""What goes from block to block, in floating point where a loss asks for tangents."""


class TimeEmbedding(Protocol):
    """Features of one time. Built with `hidden_size`."""

    def forward(self, time: Tensor) -> Tensor:
        """Embed times (B,) in [0, 1] as (B, D) vectors."""


class SecondTime(Protocol):
    """How the end time s of a jump enters the condition. Built with `embedding`.

    `embedding()` makes a new time embedding of the model's kind; a part that ignores s makes none.
    """

    def forward(self, t: Tensor, s: Tensor) -> Tensor:
        """Return what s adds to the condition, (B, D), from times t >= s of shape (B,)."""


class Normalization(Protocol):
    """Normalisation over the last axis. Built with `dim`, the size of that axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim), keeping shape and dtype."""


class FusingNormalization(Protocol):
    """A normalisation with kernels for what stands before and after it in a block.

    They are used where `fuses` says so; elsewhere it is a normalisation like any other. A class
    derived from one with kernels is another normalisation: `fuses` has to tell them apart.
    """

    def fuses(self, tokens: Tensor) -> bool:
        """Return whether the kernels take these tokens (B, N, D), here and now."""

    def fused(
        self,
        tokens: Tensor,
        vectors: Tensor,
        branch: Tensor | None = None,
        earlier: tuple[Tensor, Tensor] | None = None,
        add_up: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return u = tokens + gate branch and norm(u) (1 + scale) + shift, (B, N, D) each.

        `vectors` are gate, shift and scale (B, 3, D), or, without a branch, shift and scale, and u
        is the tokens. The second result may come in the precision of autocast. Without `add_up`
        the tokens come back for u, to be given to another such norm with (branch, gate) as
        `earlier`; gradients of these are then the first norm's.
        """


def fuses_modulation(norm: object) -> TypeGuard[FusingNormalization]:
    """Return whether a normalisation has such kernels, and is not to be called for its hooks."""
    return _has_kernels(norm)


def _has_kernels(norm: object) -> bool:
    """Return whether a norm has kernels and no hooks: those are for calls, which there are none of.

    The compiler traces this.
    """
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    if not all(hasattr(norm, part) for part in ("fuses", "fused")):
        return False
    return not any(getattr(norm, each, None) for each in hooks)


class ModulationNorm(Protocol):
    """Normalisation of each vector that modulates a block. Built with `dim`."""

    def forward(self, vector: Tensor) -> Tensor:
        """Normalise (..., dim), keeping shape and dtype."""


class QKNorm(Protocol):
    """Normalisation of queries and keys, one instance for each of the two. Built with `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim) over its last axis, dim being the head size, keeping the shape."""


class FusingQKNorm(Protocol):
    """A norm of queries with kernels for both norms of a projection: see FusingNormalization."""

    def fuses(self, keys: nn.Module, qkv: Tensor, heads: int) -> bool:
        """Return whether the kernels take this projection (B, N, 3 H d), here and now.

        `keys` is the norm of keys, of the same class.
        """

    def fused(self, keys: nn.Module, qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised queries and keys, each by its own norm, and values, (B, N, H, d)."""


def fuses_heads(norm: object) -> TypeGuard[FusingQKNorm]:
    """Return whether a norm of queries or keys has such kernels, as `fuses_modulation` does."""
    return _has_kernels(norm)


class Attention(Protocol):
    """Softmax attention, right with forward-mode tangents on its inputs or refusing them."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return softmax(q k^T / sqrt(d)) v for inputs and output of shape (B, H, N, d)."""


class Role(StrEnum):
    """What a weight is for, so that an initializer can treat it as the paper does."""

    LINEAR = "linear"
    PATCH_EMBEDDING = "patch_embedding"
    TIME_EMBEDDING = "time_embedding"
    CLASS_EMBEDDING = "class_embedding"
    ZERO = "zero"  # modulation and output layers: a block starts as the identity


class Initializer(Protocol):
    """Draws the initial value of a weight. Biases are zero and scales are one without it."""

    def __call__(self, weight: Tensor, role: Role, generator: torch.Generator) -> None:
        """Fill `weight` (out, in, ...) in place from `generator`; several threads may call."""


class Model(Protocol):
    """The two-time network F(x_t, t, s, c, w). Built with `shape` and `num_classes`.

    `shape` is one example's (C, H, W) or (C,); class `num_classes` is the empty class.
    """

    def initialize(self, generators: Callable[[str], torch.Generator]) -> None:
        """Set every parameter; `generators(name)` is the stream of the parameter of that name."""

    def forward(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        """Return F, shaped like x (B, ...), for times t, s, classes c and weights w, (B,) each."""


class BlockModel(Protocol):
    """A model in three parts, so that the framework can work block by block.

    `forward` is `head(blocks(embed(...)))`. All blocks have one signature:
    block(tokens, condition) -> tokens. Tokens are (B, N, D), or a tuple of several tensors.
    """

    blocks: nn.ModuleList

    def embed(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> tuple[Tokens, Tensor]:
        """Return tokens and the condition (B, D)."""

    def head(self, tokens: Tokens, condition: Tensor) -> Tensor:
        """Return F, shaped like x, from tokens and the condition (B, D)."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters, as `torch.nn.Module` does."""


def has_blocks(model: object) -> TypeGuard[BlockModel]:
    """Return whether a model comes in blocks.

    `isinstance` with a protocol looks past a module's own attributes from Python 3.12 on.
    """
    return all(hasattr(model, part) for part in ("blocks", "embed", "head"))
