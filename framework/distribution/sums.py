"""Gradients summed over processes, while the backward pass that makes them still runs if it may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

FIRST_ELEMENTS = 2**20  # a small group, so that the first one leaves early
GROUP_ELEMENTS = 2**24  # 64 MB of float32

Group = Sequence[nn.Parameter]


class GradientSums:
    """Sends gradients, in groups of parameters, as soon as they are complete.

    A group leaves as one copy, which takes the place of its gradients: what autograd made may share
    its memory with what it still reads. Once it has ended gradients are summed where they lie,
    those of a step that is replayed as a whole for one: that takes a tenth less.

    PyTorch adds up what all passes of one `backward()` say of a parameter and then calls its hook,
    once, whether they were compiled, checkpointed or neither. Groups go from the last parameters to
    the first, roughly as a backward pass completes them, and none leaves before those in front of
    it: so all processes send alike, whatever the order in which their hooks run.

    A sum is the same to the bit in every process, by gloo and by NCCL: whatever their algorithm (a
    ring, a tree, the switch), each element is summed up in one place and copied from there.
    """

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._frozen: list[nn.Parameter] = []
        self._left: list[set[nn.Parameter]] = []
        self._sending = False
        self._sent = 0
        self._sums: list[torch.distributed.Work] = []
        self._missing: dict[nn.Parameter, Tensor] = {}

    def follow(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients of these parameters too; of frozen ones when they are no longer."""
        self._frozen += [p for p in parameters if not p.requires_grad]
        for group in _groups(reversed([p for p in parameters if p.requires_grad])):
            for parameter in group:
                complete = partial(self._complete, len(self._groups))
                parameter.register_post_accumulate_grad_hook(complete)
            self._groups.append(group)

    def begin(self, last: bool) -> None:
        """Prepare for the backward pass of a micro-batch; gradients leave during the last one."""
        if any(p.requires_grad for p in self._frozen):
            known, self._frozen = self._frozen, []
            self.follow(known)
        self._left = [set(group) for group in self._groups]
        self._sending, self._sent = last, 0
        self._sums.clear()

    def finish(self) -> None:
        """Send what has not left, and let the device wait for all sums.

        What took no part in the loss here counts as zero in the sum, and gets the sum if it took
        part in any other process: as on a single one, a gradient is missing where none is.
        """
        parameters = [parameter for group in self._groups for parameter in group]
        if self._sending:
            while self._sent < len(self._groups):
                self._send()
        else:
            self._sum_where_they_lie(parameters)
        self._sending = False
        taking = Taking(parameters)
        for summed in self._sums:
            summed.wait()
        for parameter in taking.elsewhere():
            parameter.grad = self._missing[parameter]
        self._sent = 0
        self._sums.clear()
        self._missing.clear()

    def _complete(self, number: int, parameter: nn.Parameter) -> None:
        """Note that a gradient is complete, and send every group whose turn that makes it."""
        if not self._sending:
            return
        self._left[number].remove(parameter)
        while self._sent < len(self._groups) and not self._left[self._sent]:
            self._send()

    @torch.no_grad()
    def _send(self) -> None:
        group = self._groups[self._sent]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        flat = torch.cat([part.flatten() for part in parts])
        self._sums.append(torch.distributed.all_reduce(flat, async_op=True))
        self._sent += 1
        for parameter, part in zip(group, flat.split([p.numel() for p in group]), strict=True):
            if parameter.grad is None:
                self._missing[parameter] = part.view_as(parameter)
            else:
                parameter.grad = part.view_as(parameter)

    @torch.no_grad()
    def _sum_where_they_lie(self, parameters: Sequence[nn.Parameter]) -> None:
        for _, alike in groupby(parameters, lambda parameter: parameter.dtype):
            group = list(alike)
            self._missing |= {p: torch.zeros_like(p) for p in group if p.grad is None}
            part_from_each_other(group)
            parts = [self._missing[p] if p.grad is None else p.grad for p in group]
            self._sums.append(summed_together(parts))


def part_from_each_other(parameters: Iterable[nn.Parameter]) -> None:
    """Let no two gradients share memory, as those of terms of one sum may: each is summed once."""
    seen = set()
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.numel():
            memory = parameter.grad.untyped_storage().data_ptr()
            if memory in seen:
                parameter.grad = parameter.grad.clone()
            seen.add(memory)


def summed_together(parts: list[Tensor]) -> torch.distributed.Work:
    """Begin to sum tensors of one type over all processes, in place and in one operation."""
    world = torch.distributed.group.WORLD
    assert world is not None
    return world.allreduce_coalesced(parts)


class Taking:
    """Which parameters took part in a loss, here and in any process.

    Every process asks, once its backward pass is done, and only one that lacks a gradient waits for
    the answer, which goes from host to host: where all have all, it costs a message under way.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._here = [parameter.grad is not None for parameter in parameters]
        self._anywhere = torch.tensor(self._here, dtype=torch.uint8)
        most = torch.distributed.ReduceOp.MAX
        self._asked = torch.distributed.all_reduce(self._anywhere, most, async_op=True)

    def elsewhere(self) -> list[nn.Parameter]:
        """Return the parameters that took part in other processes, and not in this one."""
        if all(self._here):
            return []
        self._asked.wait()
        found = zip(self._parameters, self._here, self._anywhere.tolist(), strict=True)
        return [parameter for parameter, here, anywhere in found if anywhere and not here]


def _groups(parameters: Iterable[nn.Parameter]) -> Iterator[Group]:
    """Yield the parameters in groups of one type each, the first of which is small."""
    group: list[nn.Parameter] = []
    enough = FIRST_ELEMENTS
    for parameter in parameters:
        if group and parameter.dtype != group[0].dtype:
            yield group
            group = []
        group.append(parameter)
        if sum(p.numel() for p in group) >= enough:
            yield group
            group, enough = [], GROUP_ELEMENTS
    if group:
        yield group
