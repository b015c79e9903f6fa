"""The processes that train one run together.

Each is told by its environment which one it is (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE,
MASTER_ADDR, MASTER_PORT), whoever started it: torchrun, submitit or `framework.launching.ranks`.
This is the only place that reads it. MASTER_LISTEN_FD tells the first one which open socket listens
at the port, if any does. Tensors on a GPU travel by NCCL, those of the CPU by gloo; what processes
agree upon travels by gloo, so that no host waits for its device.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from framework.errors import UserError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

T = TypeVar("T")

JOIN_SECONDS = 900.0  # one node may read its software from a slow disk
SILENCE_SECONDS = 7200.0  # one process may judge samples for long while the others wait for it
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """Process number `rank` of `size`; on its machine number `local_rank`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls) -> World:
        """Return what the environment says; a process on its own where it says nothing.

        Raises:
            UserError: it contradicts itself or is incomplete.
        """
        if int(os.environ.get("WORLD_SIZE") or 1) == 1:
            return ALONE
        missing = [name for name in ("RANK", *_NAMES[4:]) if name not in os.environ]
        if missing:
            raise UserError(
                f"WORLD_SIZE = {os.environ['WORLD_SIZE']} without {', '.join(missing)}: start the "
                "processes by torchrun, by launch/slurm.py or with --processes"
            )
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if not 0 <= rank < size:
            raise UserError(f"RANK = {rank} and WORLD_SIZE = {size}: ranks go from 0 to {size - 1}")
        return cls(rank, size, int(os.environ.get("LOCAL_RANK", rank)))

    @property
    def leads(self) -> bool:
        """Whether this process writes what the run leaves behind."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Return this process's part of `total` samples, which its size has to divide."""
        part = total // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def device(self, device: torch.device) -> torch.device:
        """Return the device of this process, of the type that a run trains on, and make it current.

        Raises:
            UserError: processes of one machine would share a GPU, or nothing connects them.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if not dist.is_nccl_available():
            raise UserError(
                f"{self.size} processes on GPUs need NCCL, which this PyTorch comes without: "
                "install one that has it, or set train.device = 'cpu'"
            )
        # A cluster may show each process its own GPU only.
        own = torch.device("cuda", self.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(own)
        name = f"{torch.cuda.get_device_properties(own).uuid} on {socket.gethostname()}"
        if len(set(self.everyones(name))) < self.size:
            raise UserError(
                f"{self.size} processes, and some share a GPU (process {self.rank} has {name}): "
                "ask for as many processes as there are GPUs"
            )
        return own

    def gathered(self, x: Tensor) -> Tensor:
        """Return the tensors (n, ...) of all processes as one (size n, ...), by rank."""
        if self.size == 1:
            return x
        found = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(found, x.contiguous())
        return torch.cat(found)

    def everyones(self, value: T) -> list[T]:
        """Return the values of all processes, by rank: small ones, without a tensor on a GPU."""
        if self.size == 1:
            return [value]
        found = [value] * self.size
        dist.all_gather_object(found, value)
        return found

    def any(self, flag: bool) -> bool:
        """Return whether it is so for any process."""
        return any(self.everyones(flag))

    def ask(self, number: int) -> Answer:
        """Send every process's number to all others; return at once."""
        value = torch.tensor([number])
        return Answer(value, dist.all_reduce(value, dist.ReduceOp.MAX, async_op=True))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.everyones(True)

    def alike(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


@dataclass(frozen=True)
class Answer:
    """What is on its way."""

    _value: Tensor
    _work: dist.Work | None

    def largest(self) -> int:
        """Wait for the numbers of all processes and return the largest."""
        if self._work is not None:
            self._work.wait()
        return int(self._value)


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """Connect this process to the others of its run for as long as the context lasts.

    Alone, or connected already, nothing happens. After an error nothing is tidied up: the others
    may never come to where that could be done together, and the process is about to end.

    Raises:
        UserError: the environment is incomplete, nothing connects processes, or they do not come.
    """
    world = World.of_environment()
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    if not dist.is_available() or not dist.is_gloo_available():
        raise UserError(f"{world.size} processes need gloo, which this PyTorch comes without")
    _connect(world)
    yield world
    world.wait()
    dist.destroy_process_group()


def _has_nccl() -> bool:
    return torch.cuda.is_available() and dist.is_nccl_available()


def _connect(world: World) -> None:
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store = _store(world)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if _has_nccl() else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=SILENCE_SECONDS),
        )
    except (dist.DistError, RuntimeError) as error:
        raise UserError(
            f"process {world.rank} of {world.size} cannot meet the others at {where}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _store(world: World) -> Store:
    """Return where processes leave word for each other, once all have come there."""
    from torch._C._distributed_c10d import TCPStore  # torch.distributed's, which types miss there

    patience = timedelta(seconds=JOIN_SECONDS)
    listening = os.environ.pop("MASTER_LISTEN_FD", "")
    if not listening:
        store: Store = next(rendezvous("env://", timeout=patience))[0]
        return store
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(
        host, port, world.size, is_master=True, timeout=patience, master_listen_fd=int(listening)
    )
