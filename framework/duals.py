"""Forward-mode rules of products, where PyTorch's own cost more than they have to.

A product with a constant matrix: PyTorch gives the constant a symbolic zero tangent, which costs a
product that is never needed and which the compiler cannot fold ("ZeroTensors are immutable"). Under
`ProductRules` a linear layer applied to a dual tensor is a linear layer applied to the primal and
one to the tangent. One product over the rows of both would cost more than it gains: a pass over
memory for the bias, which only the primal has, and a result that stays whole where half is kept.

An elementwise product: PyTorch adds the two terms of the tangent in an order that can give it
another memory layout than the primal, and then copies it. Here the terms come in the primal's.
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
_ELEMENTWISE = {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__}


class ProductRules(TorchFunctionMode):
    """While active, products of dual tensors carry their tangent explicitly."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Apply the rules to linear layers and products, and leave everything else alone."""
        kwargs = kwargs or {}
        if func is _LINEAR:
            return _linear(*args, **kwargs)
        if func in _PRODUCTS and not kwargs:
            return _product(func, *args)
        if func in _ELEMENTWISE and not kwargs:
            return _elementwise(func, *args)
        return func(*args, **kwargs)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    primal, tangent = forward_ad.unpack_dual(input)
    if tangent is None or _is_dual(weight) or (bias is not None and _is_dual(bias)):
        return _LINEAR(input, weight, bias)
    weight = _autocast(weight)  # once for both products
    return forward_ad.make_dual(_LINEAR(primal, weight, bias), _LINEAR(tangent, weight))


def _autocast(x: Tensor) -> Tensor:
    """Cast a weight as autocast would, but before the layer is taken apart and not within.

    Within, the weight's gradient comes back transposed, and is copied.
    """
    device = x.device.type
    if x.is_meta or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))


def _product(product: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    (a, da), (b, db) = forward_ad.unpack_dual(left), forward_ad.unpack_dual(right)
    if da is not None and db is None:
        return forward_ad.make_dual(product(a, b), product(da, b))
    if da is None and db is not None:
        return forward_ad.make_dual(product(a, b), product(a, db))
    return product(left, right)


def _elementwise(product: Callable[[Any, Any], Tensor], left: Any, right: Any) -> Tensor:
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return product(left, right)
    (a, da), (b, db) = forward_ad.unpack_dual(left), forward_ad.unpack_dual(right)
    if da is None or db is None:
        return product(left, right)
    return forward_ad.make_dual(product(a, b), product(da, b) + product(a, db))


def _is_dual(x: Tensor) -> bool:
    return forward_ad.unpack_dual(x).tangent is not None
