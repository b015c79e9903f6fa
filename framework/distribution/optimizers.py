"""Whether an optimizer can update parameters that lie in shards: it is tried on small ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from framework.distribution.placement import BuildOptimizer
from framework.errors import UserError

_LARGEST = 5  # of a dimension: does not divide evenly, and takes no time
_UPDATES = 3
_TOLERANCE = 1e-3  # of an update: what is more than rounding in float32


def check_sharded(build: BuildOptimizer, model: nn.Module, mesh: DeviceMesh) -> None:
    """Check that an optimizer does the same with shards as with whole parameters.

    Raises:
        UserError: it fails with them, or gets something else.
    """
    shapes = _small_shapes(model)
    device = torch.device(mesh.device_type)
    start = {name: _drawn(shape, k).to(device) for k, (name, shape) in enumerate(shapes.items())}
    whole = {name: nn.Parameter(x.clone()) for name, x in start.items()}
    parts = {name: nn.Parameter(_sharded(p.detach(), mesh)) for name, p in whole.items()}
    _update(build, whole, lambda gradient: gradient.to(device))
    try:
        _update(build, parts, lambda gradient: _sharded(gradient, mesh))
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError) as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise _refusal(f"it fails on them ({why})") from error
    for name, before in start.items():
        part = parts[name].detach()
        found = part.full_tensor() if isinstance(part, DTensor) else part
        expected = whole[name].detach() - before
        apart = float((found - before - expected).norm() / expected.norm())
        if not apart <= _TOLERANCE:
            raise _refusal(f"its updates of {name} differ by {apart:.1%} from those of the whole")


def _refusal(why: str) -> UserError:
    return UserError(
        "train.distribution = 'fsdp': train.optimizer cannot update parameters that lie in "
        f"shards: {why}; choose another one, or set train.distribution = 'ddp'"
    )


def _small_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return names and small shapes of a model's parameters, those of one block for all."""
    kinds = {re.sub(r"\d+", "0", name): p.shape for name, p in model.named_parameters()}
    return {name: tuple(min(size, _LARGEST) for size in shape) for name, shape in kinds.items()}


def _update(
    build: BuildOptimizer,
    parameters: Mapping[str, nn.Parameter],
    placed: Callable[[Tensor], Tensor],
) -> None:
    optimizer = build(list(parameters.items()))
    for update in range(_UPDATES):
        for k, parameter in enumerate(parameters.values()):
            parameter.grad = placed(_drawn(tuple(parameter.shape), k + 1000 * (update + 1)))
        optimizer.step()


def _drawn(shape: tuple[int, ...], number: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


def _sharded(x: Tensor, mesh: DeviceMesh) -> Tensor:
    return distribute_tensor(x.to(mesh.device_type), mesh, [Shard(0)], src_data_rank=None)
