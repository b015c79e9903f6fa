"""What a step keeps in memory, found without computing it.

Weights, gradients, optimizer state and averages are counted exactly. Activations are what is alive
at the worst moment of an eager forward and backward pass over one micro-batch, which runs here on
fake tensors: shapes and dtypes without storage, on any machine. `train.compile` keeps less, and an
allocator's gaps and the device's own context (some hundred MB) come on top: an estimate.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from framework.evaluator import Evaluator
from framework.passes import Passes
from framework.protocols import Batch, has_blocks
from framework.training.precision import autocast
from framework.training.settings import Train
from framework.training.trainer import as_module, construct_model
from framework.training.weights import EVALUATION

CPU = torch.device("cpu")
DEPTH = 2  # blocks of the smaller of two networks, from which deeper ones follow


@dataclass(frozen=True)
class Memory:
    """Bytes on one device: `held` between steps, and the most within one, if that is known."""

    held: int
    peak: int | None = None


def step_memory(train: Train, processes: int = 1) -> Memory:
    """Return what a run needs on each of its devices.

    A process that imports Triton kernels for the first time inside of `kernels_for_fakes`, as a
    fresh fork does, counts their memory; elsewhere that of dense stand-ins may count.

    Args:
        train: The run.
        processes: How many share a batch.
    """
    with torch.device("meta"):
        model = as_module(construct_model(train))
    weights = _bytes(model.parameters())
    copies = 1 + len({*train.loss.averages(), EVALUATION})
    state = _optimizer_bytes(train, model)
    held = copies * weights + state
    if train.distribution == "fsdp":
        held, weights = held // processes, weights // processes
    pieces = -(-train.accumulation // processes)  # of each process's share of a batch
    activations = _activations(train, max(1, train.batch_size // (processes * pieces)))
    if activations is None:
        return Memory(held)
    # An update comes after the activations: AdamW's takes a copy of the weights meanwhile.
    return Memory(held, held + weights + max(activations, weights))


def _optimizer_bytes(train: Train, model: nn.Module) -> int:
    """Return the optimizer's state after an update on the meta device; AdamW's if it cannot."""
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    try:
        optimizer = train.optimizer(list(model.named_parameters()))
        optimizer.step()
    except (RuntimeError, NotImplementedError):  # it looks at values
        return 2 * _bytes(model.parameters())
    state = optimizer.state_dict()["state"]
    return _bytes(value for value in tree_leaves(state) if isinstance(value, Tensor))


def _activations(train: Train, size: int) -> int | None:
    """Return the bytes alive at once in the passes over `size` samples, beside weights and
    gradients; None where fake tensors do not get through.

    Blocks are alike: the passes of two shallow networks tell those of a deep one. Their depths are
    multiples of the checkpointing's period.
    """
    least = math.lcm(DEPTH, train.checkpointing or 1)
    try:
        depth, few = _traced(train, size, least)
        if depth <= least:
            return few
        _, more = _traced(train, size, 2 * least)
    # A component is a user's own code and may look at values, which fake tensors have not.
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AssertionError):
        return None
    return few + (more - few) * (depth - least) // (min(2 * least, depth) - least)


def _traced(train: Train, size: int, most_blocks: int) -> tuple[int, int]:
    """Return the network's depth, and the bytes alive at once in one cut to `most_blocks`."""
    depth = 0
    with FakeTensorMode(), torch.random.fork_rng(devices=[]):
        model = as_module(construct_model(train))
        if has_blocks(model):
            depth = len(model.blocks)
            model.blocks = model.blocks[:most_blocks]
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        passes = Passes(checkpoint_every=train.checkpointing)
        precision = partial(autocast, train.precision, CPU)
        networks = dict.fromkeys(train.loss.averages(), model)
        evaluate = Evaluator(model, networks, passes, precision)
        batch = _batch(train, size)
        with _Alive(model) as alive:
            train.loss(batch, evaluate).total.mean().backward()
    return depth, alive.most


def _batch(train: Train, size: int) -> Batch:
    dataset = train.dataset

    def uniform(stream: str, width: int) -> Tensor:
        return torch.rand(size, width, dtype=torch.float64)

    x0 = torch.zeros(size, *dataset.shape)
    labels = torch.zeros(size, dtype=torch.long)
    return Batch(x0, torch.zeros_like(x0), labels, dataset.num_classes, uniform)


class _Alive(TorchDispatchMode):
    """Counts the bytes of tensors that operations made and that something still holds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakKeyDictionary[torch.UntypedStorage, bool] = (
            weakref.WeakKeyDictionary()
        )
        for parameter in model.parameters():
            for tensor in (parameter, parameter.grad):
                if tensor is not None:
                    self._known[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count the storages that it made."""
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = True
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, count: int) -> None:
        self.now -= count


@contextmanager
def kernels_for_fakes() -> Iterator[None]:
    """Let Triton kernels that are imported meanwhile take tensors of the CPU, as fakes are.

    Nothing is computed with those; a fused kernel's own outputs are counted, and not those of a
    dense stand-in for machines without a GPU.
    """
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
