"""Forward-mode rule of products with a constant matrix.

PyTorch's own rule gives the constant a symbolic zero tangent, which costs a product that is never
needed and which the compiler cannot fold ("ZeroTensors are immutable"). Under this mode a linear
layer applied to a dual tensor is a linear layer applied to the primal and one to the tangent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

_LINEAR = torch.nn.functional.linear
_PRODUCTS = {torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.mm}


class ConstantMatrixRule(TorchFunctionMode):
    """While active, products of a dual tensor with a constant carry their tangent explicitly."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Apply the rule to linear layers and products, and leave everything else alone."""
        kwargs = kwargs or {}
        if func is _LINEAR:
            return _linear(*args, **kwargs)
        if func in _PRODUCTS and not kwargs:
            return _product(func, *args)
        return func(*args, **kwargs)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    primal, tangent = forward_ad.unpack_dual(input)
    if tangent is None or _is_dual(weight) or (bias is not None and _is_dual(bias)):
        return _LINEAR(input, weight, bias)
    return forward_ad.make_dual(_LINEAR(primal, weight, bias), _LINEAR(tangent, weight))


def _product(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    (a, da), (b, db) = forward_ad.unpack_dual(left), forward_ad.unpack_dual(right)
    if da is not None and db is None:
        return forward_ad.make_dual(product(a, b), product(da, b))
    if da is None and db is not None:
        return forward_ad.make_dual(product(a, b), product(a, db))
    return product(left, right)


def _is_dual(x: Tensor) -> bool:
    return forward_ad.unpack_dual(x).tangent is not None
