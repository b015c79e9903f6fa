"""Gradients summed over processes while the backward pass that makes them still runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

FIRST_ELEMENTS = 2**20  # a small group, so that the first one leaves early
GROUP_ELEMENTS = 2**24  # 64 MB of float32
LARGE_ELEMENTS = 2**18  # gradients from this size on are summed where they lie, without a copy

Group = Sequence[nn.Parameter]


class GradientSums:
    """Sends gradients, in groups of parameters, as soon as they are complete.

    PyTorch adds up what all passes of one `backward()` say of a parameter and then calls its hook,
    once, whether they were compiled, checkpointed or neither. Groups go from the last parameters to
    the first, roughly as a backward pass completes them, and none leaves before those in front of
    it: so all processes send alike, whatever the order in which their hooks run.
    """

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._left: list[set[nn.Parameter]] = []
        self._sending = False
        self._sent = 0
        self._messages: list[_Message] = []

    def follow(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients of these parameters too."""
        for group in _groups(reversed(parameters)):
            for parameter in group:
                complete = partial(self._complete, len(self._groups))
                parameter.register_post_accumulate_grad_hook(complete)
            self._groups.append(group)

    def begin(self, last: bool) -> None:
        """Prepare for the backward pass of a micro-batch; gradients leave during the last one."""
        self._left = [set(group) for group in self._groups]
        self._sending, self._sent = last, 0
        self._messages.clear()

    def finish(self) -> None:
        """Send what has not left, and let the device wait for all sums.

        What took no part in the loss counts as zero in the sum and keeps its missing gradient.
        """
        self._sending = False
        while self._sent < len(self._groups):
            self._send()
        for message in self._messages:
            message.arrive()
        self._messages.clear()

    def _complete(self, number: int, parameter: nn.Parameter) -> None:
        """Note that a gradient is complete, and send every group whose turn that makes it."""
        if not self._sending:
            return
        self._left[number].remove(parameter)
        while self._sent < len(self._groups) and not self._left[self._sent]:
            self._send()

    def _send(self) -> None:
        group = self._groups[self._sent]
        self._messages += [_Message([p]) for p in group if _is_large(p)]
        small = [p for p in group if not _is_large(p)]
        self._messages += [_Message(small)] if small else []
        self._sent += 1


class _Message:
    """Gradients on their way: one as it lies, or several in one piece."""

    @torch.no_grad()
    def __init__(self, parameters: Group) -> None:
        self._parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        rows = [part.flatten() for part in self._parts]
        self._sum = rows[0] if len(rows) == 1 else torch.cat(rows)
        self._work = torch.distributed.all_reduce(self._sum, async_op=True)

    @torch.no_grad()
    def arrive(self) -> None:
        """Put the sums where the gradients were, once they are there."""
        self._work.wait()
        sums = self._sum.split([part.numel() for part in self._parts])
        for part, summed in zip(self._parts, sums, strict=True):
            if part.data_ptr() != summed.data_ptr():
                part.copy_(summed.view_as(part))


def _is_large(parameter: nn.Parameter) -> bool:
    return parameter.numel() >= LARGE_ELEMENTS


def _groups(parameters: Iterable[nn.Parameter]) -> Iterator[Group]:
    """Yield the parameters in groups, the first of which is small."""
    group: list[nn.Parameter] = []
    elements, enough = 0, FIRST_ELEMENTS
    for parameter in parameters:
        group.append(parameter)
        elements += parameter.numel()
        if elements >= enough:
            yield group
            group, elements, enough = [], 0, GROUP_ELEMENTS
    if group:
        yield group
