"""Random numbers as a function of (seed, stream, step, sample).

A draw belongs to a sample of the global batch and not to the process that makes it: ranks, gradient
accumulation and resuming change nothing, and arms of one seed share every draw that their switch
does not change.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

_NORMAL_GROUP = 16  # torch's CPU normals depend on their position in groups of this size only


class Streams:
    """The named random streams of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generator(
        self, stream: str, step: int = 0, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        """Return the generator of a stream at a step, at its start."""
        key = hashlib.sha256(f"{self.seed}/{stream}/{step}".encode()).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(key[:8], "little") >> 1)

    def uniform(self, stream: str, step: int, samples: range, width: int) -> Tensor:
        """Return uniforms in (0, 1) for the samples, (len(samples), width) float64 on the CPU."""
        generator = self.generator(stream, step)
        u = torch.rand(samples.stop, width, generator=generator, dtype=torch.float64)
        return u[samples.start :].clamp_(min=torch.finfo(torch.float64).tiny)

    def normal(
        self,
        stream: str,
        step: int,
        samples: range,
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        total: int | None = None,
    ) -> Tensor:
        """Return standard normals for the samples, (len(samples), *shape) float32 on `device`.

        Each device has its own sequence; on a GPU it also depends on how many are drawn: `total`,
        the size of the global batch, for a process that wants a part of them.
        """
        size = math.prod(shape)
        padded = -(-size // _NORMAL_GROUP) * _NORMAL_GROUP
        generator = self.generator(stream, step, device)
        drawn = samples.stop if total is None else total
        x = torch.randn(drawn, padded, generator=generator, device=device)
        return x[samples.start : samples.stop, :size].reshape(len(samples), *shape)

    def permutation(self, stream: str, epoch: int, length: int) -> Tensor:
        """Return a permutation of range(length), int64 on the CPU."""
        return torch.randperm(length, generator=self.generator(stream, epoch))
