"""Networks in shards, one on each process, by PyTorch's fully_shard ('fsdp')."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, empty

from framework.distribution.optimizers import check_sharded
from framework.distribution.placement import BuildOptimizer, local_part
from framework.distribution.sums import Taking
from framework.distribution.trees import mapped
from framework.errors import UserError
from framework.passes import Inputs, Pair, Passes
from framework.protocols import Tangent, has_blocks


class _Unit(nn.Module):
    """A module with what is done with it: the unit that fully_shard sees.

    Its hooks gather weights around a call, and cannot stand duals in what they see. A unit's call
    is a whole pass through its module, so that `torch.func.jvp` begins and ends inside of it.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return function(module, *args)."""
        return function(self.module, *args)


class _Network(_Unit):
    """A network as the outermost unit: it holds embedding and head itself, and a unit a block."""

    def __init__(self, network: nn.Module, blocks: Sequence[_Unit]) -> None:
        super().__init__(network)
        self.units = nn.ModuleList(blocks)

    def blocks(self) -> list[_Unit]:
        """Return the units of the blocks."""
        return [unit for unit in self.units if isinstance(unit, _Unit)]

    def all_units(self) -> list[FSDPModule]:
        """Return this unit and those of the blocks."""
        return [unit for unit in (self, *self.units) if isinstance(unit, FSDPModule)]


class Sharded:
    """Every process holds a part of every parameter, gradient, average and optimizer state.

    A block's weights are gathered, in float32, when a pass comes to it, and freed behind it;
    embedding and head are one unit more. Gradients are reduced to shards as the backward pass of
    the last micro-batch leaves a block: once for each pass with gradient that went through it.
    Until then they are kept whole, which accumulation pays for with the memory of one gradient.

    PyTorch gathers the next block while this one computes, forward (the host runs ahead) and
    backward (in the reverse order of all forward passes). Gathering in bf16 would move half as
    much, but is not what autocast does: it leaves the class embedding and the scales of queries and
    keys in float32.
    """

    def __init__(self, processes: int, device: torch.device) -> None:
        self.mesh: DeviceMesh = init_device_mesh(device.type, (processes,))
        self._networks: dict[nn.Module, _Network] = {}
        self._trained: dict[nn.Parameter, str] = {}
        # A jvp returns views. What is said of writing into them in place concerns nothing here.
        warnings.filterwarnings("ignore", message=".*returned a view tensor.*in-place op")

    def check(self, optimizer: BuildOptimizer, model: nn.Module) -> None:
        """Try the optimizer on small parameters in shards.

        Raises:
            UserError: it fails, or does something else.
        """
        check_sharded(optimizer, model, self.mesh)

    def place(self, network: nn.Module) -> None:
        """Replace the parameters of a network by this process's shards (DTensor)."""
        shard = partial(fully_shard, mesh=self.mesh, reshard_after_forward=True)
        blocks = list(network.blocks) if has_blocks(network) else []
        units = [_Unit(block) for block in blocks]
        for unit in units:
            shard(unit)
        whole = _Network(network, units)
        shard(whole, ignored_params={p for block in blocks for p in block.parameters()})
        for each in whole.all_units():  # a loss's terms are divided by the size of the global batch
            each.set_gradient_divide_factor(1.0)
            each.set_force_sum_reduction_for_comms(True)
        self._networks[network] = whole
        named = {parameter: name for name, parameter in network.named_parameters()}
        if any(parameter.requires_grad for parameter in named):  # no average
            self._trained |= named

    def load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Overwrite a network's weights; whole ones are cut to this process's shards."""
        target = network.state_dict()
        network.load_state_dict(
            {
                name: self._shard(weight) if isinstance(target.get(name), DTensor) else weight
                for name, weight in weights.items()
            }
        )

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Overwrite an optimizer's state, whose tensors are shaped like the parameters, or 0-d."""
        optimizer.load_state_dict(mapped(state, lambda _, value: self._shard(value)))

    def empty(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return room for this process's shard."""
        return empty(*shape, dtype=dtype, device_mesh=self.mesh, placements=[Shard(0)])

    def _shard(self, value: Any) -> Any:
        """Return this process's part of a whole tensor; anything else as it is."""
        if not isinstance(value, Tensor) or isinstance(value, DTensor) or not value.ndim:
            return value
        here = value.to(self.mesh.device_type)
        return distribute_tensor(here, self.mesh, [Shard(0)], src_data_rank=None)

    def passes(self, passes: Passes) -> Passes:
        """Return passes whose blocks are gathered when their turn comes."""
        own = {f.name: getattr(passes, f.name) for f in fields(passes)}
        units = {u.module: u for network in self._networks.values() for u in network.blocks()}
        own["block_forward"] = partial(_through, units, passes.block_forward)
        own["block_jvp"] = partial(_through, units, passes.block_jvp)
        own["block_pair"] = partial(_through, units, passes.block_pair)
        return _ShardedPasses(**own, networks=self._networks)

    def local(self, network: nn.Module) -> list[Tensor]:
        """Return this process's shards of a network's parameters."""
        return [local_part(parameter) for parameter in network.parameters()]

    def before_backward(self, last: bool) -> None:
        """Reduce gradients in this backward pass if it is the last one of a step."""
        for network in self._networks.values():
            if isinstance(network, FSDPModule):
                network.set_requires_gradient_sync(last)

    def reduce(self) -> None:
        """Forget this step's passes: the backward pass has reduced gradients to shards.

        Raises:
            UserError: not the same ones in all processes.
        """
        for parameter in Taking(list(self._trained)).elsewhere():
            raise UserError(
                f"train.distribution = 'fsdp': {self._trained[parameter]} took part in the loss of "
                "other processes only: let it take part in all, or set train.distribution = 'ddp'"
            )
        for network in self._networks.values():
            for unit in network.all_units():
                _forget_passes(unit)

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the norm over the shards of all processes."""
        norm = nn.utils.get_total_norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @contextmanager
    def whole(self, *networks: nn.Module) -> Iterator[None]:
        """Gather whole networks: outside of their units no hook is in a plain pass's way."""
        units = [unit for network in networks for unit in self._networks[network].all_units()]
        for unit in units:
            unit.unshard()
        try:
            yield
        finally:
            for unit in units:
                unit.reshard()


@dataclass(frozen=True)
class _ShardedPasses(Passes):
    """Passes that go through the units of networks."""

    networks: Mapping[nn.Module, _Network] = field(default_factory=dict)

    def plain(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """Return F (B, ...)."""
        return self.networks[model](partial(Passes.plain, self), inputs)

    def with_tangent(self, model: nn.Module, inputs: Inputs, tangent: Tangent) -> Pair:
        """Return F and its derivative in the direction of `tangent`, (B, ...) each."""
        return self.networks[model](partial(Passes.with_tangent, self), inputs, tangent)

    def pair(
        self, model: nn.Module, inputs: Inputs, tangent: Tangent, others: Inputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return F and its derivative as `with_tangent` does, and F at other inputs."""
        network = self.networks[model]
        if not has_blocks(model):  # two passes, each of which goes through the unit
            return super().pair(model, inputs, tangent, others)
        return network(partial(Passes.pair, self), inputs, tangent, others)


def _forget_passes(unit: FSDPModule) -> None:
    """Drop what PyTorch noted of passes for a backward pass that averages never have.

    It would grow by kilobytes a step. No public function drops this alone.
    """
    state = unit._get_fsdp_state()
    getattr(state._comm_ctx, "post_forward_order", []).clear()
    getattr(state._fsdp_param_group, "_post_forward_indices", []).clear()


def _through(
    units: Mapping[nn.Module, nn.Module],
    function: Callable[..., Any],
    block: nn.Module,
    *args: Any,
) -> Any:
    return units[block](function, *args)
