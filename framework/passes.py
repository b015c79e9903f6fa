"""One pass through a network, block by block: the primal alone, or the primal with its tangent.

Between blocks tangents are ordinary tensors, so that each block can be compiled, checkpointed or
sharded on its own; inside a block they come from `torch.func.jvp`. Gradient flows through both,
or through the primal alone where the tangent is detached: the primal is computed once either way.
Shape letters: B batch, N tokens, D hidden size. Tokens are (B, N, D), or a tuple of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from framework.duals import ProductRules
from framework.protocols import BlockModel, Tangent, Tokens, has_blocks

Pair = tuple[Tensor, Tensor]
TokensPair = tuple[Tokens, Tokens]
BlockFunction = Callable[[nn.Module, Tokens, Tensor], Tokens]
BlockJvp = Callable[[nn.Module, bool, Tokens, Tokens, Tensor, Tensor], TokensPair]
BlockPair = Callable[..., tuple[Tokens, Tokens, Tokens]]
_Values = TypeVar("_Values")


@dataclass(frozen=True)
class Inputs:
    """Arguments of the network: x (B, ...), times t and s (B,), classes c (B,), weights w (B,)."""

    x: Tensor
    t: Tensor
    s: Tensor
    c: Tensor
    w: Tensor


def block_forward(block: nn.Module, tokens: Tokens, condition: Tensor) -> Tokens:
    """Return block(tokens, condition (B D)) -> tokens."""
    found: Tokens = block(tokens, condition)
    return found


def block_jvp(
    block: nn.Module,
    detach: bool,
    tokens: Tokens,
    d_tokens: Tokens,
    condition: Tensor,
    d_condition: Tensor,
) -> TokensPair:
    """Return a block's output and its tangent; the latter detached if asked to."""
    out, d_out = _jvp(block, (tokens, condition), (d_tokens, d_condition))
    return out, tree_map_only(Tensor, torch.detach, d_out) if detach else d_out


def block_pair(
    block: nn.Module,
    detach: bool,
    tokens: Tokens,
    d_tokens: Tokens,
    condition: Tensor,
    d_condition: Tensor,
    others: Tokens,
    other_condition: Tensor,
) -> tuple[Tokens, Tokens, Tokens]:
    """Return what `block_jvp` does, and the block's output for other tokens."""
    out, d_out = block_jvp(block, detach, tokens, d_tokens, condition, d_condition)
    return out, d_out, block_forward(block, others, other_condition)


def embed(model: BlockModel, inputs: Inputs) -> tuple[Tokens, Tensor]:
    """Return tokens and the condition (B D)."""
    return model.embed(inputs.x, inputs.t, inputs.s, inputs.c, inputs.w)


def embed_jvp(model: BlockModel, inputs: Inputs, tangent: Tangent) -> tuple[TokensPair, Pair]:
    """Return tokens and the condition (B D), each with its tangent."""
    (tokens, condition), (d_tokens, d_condition) = _input_jvp(model.embed, inputs, tangent)
    return (
        _detached((tokens, d_tokens), tangent),
        _detached((condition, d_condition), tangent),
    )


def embed_pair(
    model: BlockModel, inputs: Inputs, tangent: Tangent, others: Inputs
) -> tuple[TokensPair, Pair, tuple[Tokens, Tensor]]:
    """Return what `embed_jvp` does, and tokens and condition of other inputs."""
    return *embed_jvp(model, inputs, tangent), embed(model, others)


def head(model: BlockModel, tokens: Tokens, condition: Tensor) -> Tensor:
    """Return F (B, ...) from tokens and the condition (B D)."""
    return model.head(tokens, condition)


def head_jvp(model: BlockModel, tangent: Tangent, tokens: TokensPair, condition: Pair) -> Pair:
    """Return F and its tangent (B, ...) from tokens and the condition with theirs."""
    primals, tangents = zip(tokens, condition, strict=True)
    return _detached(_jvp(model.head, primals, tangents), tangent)


def head_pair(
    model: BlockModel,
    tangent: Tangent,
    tokens: TokensPair,
    condition: Pair,
    others: Tokens,
    other_condition: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `head_jvp` does, and F of other tokens."""
    return *head_jvp(model, tangent, tokens, condition), head(model, others, other_condition)


@dataclass(frozen=True)
class Passes:
    """How a network is run.

    Replace the functions to compile them. Of every `checkpoint_every` blocks the first keeps
    its inputs only and runs again in the backward pass, tangent and all; 0 keeps everything. With
    `alike` every block's inputs ask for gradient, the first one's too, but for detached tangents:
    one compilation serves all.
    """

    block_forward: BlockFunction = block_forward
    block_jvp: BlockJvp = block_jvp
    block_pair: BlockPair = block_pair
    embed: Callable[[BlockModel, Inputs], tuple[Tokens, Tensor]] = embed
    embed_jvp: Callable[[BlockModel, Inputs, Tangent], tuple[TokensPair, Pair]] = embed_jvp
    head: Callable[[BlockModel, Tokens, Tensor], Tensor] = head
    head_jvp: Callable[[BlockModel, Tangent, TokensPair, Pair], Pair] = head_jvp
    embed_pair: Callable[..., tuple[TokensPair, Pair, tuple[Tokens, Tensor]]] = embed_pair
    head_pair: Callable[..., tuple[Tensor, Tensor, Tensor]] = head_pair
    checkpoint_every: int = 0
    alike: bool = False

    def plain(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """Return F (B, ...)."""
        if not has_blocks(model):
            return model(inputs.x, inputs.t, inputs.s, inputs.c, inputs.w)
        tokens, condition = self.embed(model, inputs)
        for index, block in enumerate(model.blocks):
            given = self._asking((tokens, condition))
            tokens = self._run(index, self.block_forward, block, *given)
        return self.head(model, tokens, condition)

    def with_tangent(self, model: nn.Module, inputs: Inputs, tangent: Tangent) -> Pair:
        """Return F and its derivative in the direction of `tangent`, (B, ...) each.

        A detached tangent is detached after each block, so that its graph is never kept.
        """
        if not has_blocks(model):
            return _detached(_input_jvp(model, inputs, tangent), tangent)
        (tokens, d_tokens), conditions = self.embed_jvp(model, inputs, tangent)
        for index, block in enumerate(model.blocks):
            dual = self._asking_dual(tangent, (tokens, d_tokens), conditions)
            tokens, d_tokens = self._run(index, self.block_jvp, block, tangent.detach, *dual)
        return self.head_jvp(model, tangent, (tokens, d_tokens), conditions)

    def pair(
        self, model: nn.Module, inputs: Inputs, tangent: Tangent, others: Inputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return F and its derivative as `with_tangent` does, and F at other inputs.

        They go side by side: a compiled block then casts its weights once for both, weights in
        shards are gathered once, and their gradients come as one sum.
        """
        if not has_blocks(model):
            return *self.with_tangent(model, inputs, tangent), self.plain(model, others)
        (tokens, d_tokens), conditions, (plain, plain_condition) = self.embed_pair(
            model, inputs, tangent, others
        )
        for index, block in enumerate(model.blocks):
            dual = self._asking_dual(tangent, (tokens, d_tokens), conditions)
            alone = self._asking((plain, plain_condition))
            tokens, d_tokens, plain = self._run(
                index, self.block_pair, block, tangent.detach, *dual, *alone
            )
        return self.head_pair(
            model, tangent, (tokens, d_tokens), conditions, plain, plain_condition
        )

    def _run(self, index: int, function: Callable, *args: nn.Module | Tokens | bool) -> Any:
        """Call the function of block number `index`, checkpointed if it is that block's turn.

        The checkpoint goes around the jvp: inside one PyTorch cannot run it again.
        """
        every = self.checkpoint_every
        if every == 0 or index % every or not torch.is_grad_enabled():
            return function(*args)
        return checkpoint(function, *args, use_reentrant=False)

    def _asking(self, values: _Values) -> _Values:
        """Let a block's inputs ask for gradient, if all blocks' do."""
        if not (self.alike and torch.is_grad_enabled()):
            return values
        asking: _Values = tree_map_only(Tensor, _asking_for_gradient, values)
        return asking

    def _asking_dual(self, tangent: Tangent, *pairs: tuple[Any, Any]) -> Iterator[Any]:
        """Yield primals and tangents, of which detached ones ask for none: they would be kept."""
        for primal, d_primal in pairs:
            yield self._asking(primal)
            yield d_primal if tangent.detach else self._asking(d_primal)


def _asking_for_gradient(x: Tensor) -> Tensor:
    asks = x.requires_grad or not x.is_floating_point()
    return x if asks else x.detach().requires_grad_()


def _detached(pair: tuple[Any, Any], tangent: Tangent) -> tuple[Any, Any]:
    """Detach the tangent of a pair if that was asked for."""
    primal, d_primal = pair
    return primal, tree_map_only(Tensor, torch.detach, d_primal) if tangent.detach else d_primal


def _input_jvp(function: Callable, inputs: Inputs, tangent: Tangent) -> tuple:
    """Differentiate function(x, t, s, c, w) in the inputs that the tangent names, no others."""
    directions = {"x": tangent.x, "t": tangent.t, "s": tangent.s}
    moving = {name: d for name, d in directions.items() if d is not None}
    still = {name: getattr(inputs, name) for name in ("x", "t", "s", "c", "w")}

    def of_moving(*values: Tensor) -> object:
        return function(**(still | dict(zip(moving, values, strict=True))))

    return _jvp(of_moving, tuple(still[n] for n in moving), tuple(moving.values()))


def _jvp(function: Callable, primals: tuple[Tokens, ...], tangents: tuple[Tokens, ...]) -> tuple:
    with ProductRules():
        return torch.func.jvp(function, primals, tangents)
