"""Small components and roots, so that these tests know nothing of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import annotated_types
import torch
from torch import Tensor, nn

from framework import register
from framework.protocols import (
    Batch,
    Conditions,
    Evaluate,
    FlowMap,
    Guidance,
    Loss,
    LossTerms,
    Model,
    Normalization,
    Schedule,
    Times,
    TimeSampler,
    WeightAverage,
)
from framework.settings import LocalPath, Positive, PositiveInt, Probability


@register.time_sampler("toy_gap", added={"shift": 0.0})
class ToyGap:
    """Draws gaps."""

    def __init__(self, mean: float = -0.8, std: Positive = 1.0, shift: float = 0.0):
        self.mean, self.std, self.shift = mean, std, shift

    def __call__(self, u: Tensor) -> Times:
        return Times(torch.ones(len(u)), torch.zeros(len(u)), torch.zeros(len(u)))


@register.time_sampler("toy_uniform")
class ToyUniform:
    """Draws uniformly."""

    def __init__(self, low: Probability):
        if low == 0.5:
            raise ValueError("low must not be\none half")
        self.low = low

    def __call__(self, u: Tensor) -> Times:
        return Times(torch.ones(len(u)), torch.zeros(len(u)), torch.zeros(len(u)))


@register.normalization("toy_norm")
class ToyNorm(nn.Module):
    """Scales."""

    def __init__(self, dim: int, eps: Annotated[float, annotated_types.Gt(0)] = 1e-6):
        super().__init__()
        if eps > 1:
            raise ValueError("eps is too large")
        self.dim, self.eps = dim, eps

    def forward(self, x: Tensor) -> Tensor:
        return x / self.eps


@register.guidance("toy_guidance")
class ToyGuidance:
    """Draws nothing."""

    weight = None

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        return Conditions(labels, torch.ones(len(labels)))


@register.flow_map("toy_map")
class ToyMap:
    """Scales by t - s."""

    def gamma(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        return t - s

    def dgamma_ds(self, t: Tensor, s: Tensor, w: Tensor) -> Tensor:
        return -torch.ones_like(t)


@register.schedule("toy_schedule")
class ToySchedule:
    """A constant."""

    def __init__(self, warmup: int = 0, path: LocalPath = ""):
        self.warmup, self.path = warmup, path

    def __call__(self, step: int, steps: int) -> float:
        return 1.0


@register.loss("toy_loss")
class ToyLoss:
    """Asks for nothing."""

    def __init__(
        self,
        time_sampler: TimeSampler,
        guidance: Guidance,
        flow_map: FlowMap,
        target_decay: Probability = 0.99,
        detach_jvp: bool = False,
        samplers: tuple[TimeSampler, ...] = (),
        named: Mapping[str, TimeSampler] | None = None,
        betas: tuple[float, float] = (0.9, 0.95),
    ):
        self.time_sampler, self.guidance, self.flow_map = time_sampler, guidance, flow_map
        self.target_decay, self.samplers, self.named = target_decay, samplers, named

    def averages(self) -> Mapping[str, WeightAverage]:
        return {}

    def __call__(self, batch: Batch, evaluate: Evaluate) -> LossTerms:
        return LossTerms(batch.x0.flatten(1).sum(1))


@register.loss("toy_other")
class ToyOther(ToyLoss):
    """Wraps another loss."""

    def __init__(self, inner: Loss | None = None, sharp: bool = False):
        self.flow_map, self.guidance, self.inner = ToyMap(), ToyGuidance(), inner


@register.model("toy_model")
class ToyModel(nn.Module):
    """A model."""

    def __init__(
        self,
        shape: tuple[int, ...],
        num_classes: int,
        normalization: Callable[[int], Normalization],
        hidden_size: PositiveInt = 8,
        width: float = 1,
    ):
        super().__init__()
        self.norm = normalization(hidden_size)

    def initialize(self, generators: Callable[[str], torch.Generator]) -> None:
        pass

    def forward(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Toy:
    """The run."""

    model: Callable[..., Model]
    loss: Loss
    schedule: Schedule | None = None
    schedules: tuple[Schedule, ...] = ()
    steps: PositiveInt = 100
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    rate: Positive | None = None
    late: bool = field(default=False, metadata={"added": False})


@dataclass(frozen=True)
class ToyLogging:
    """What to write."""

    every: PositiveInt = 20


@dataclass(frozen=True)
class ToyGrid:
    """Many runs."""

    name: str
    axes: dict[str, list[Any]] = field(default_factory=dict)
    seeds: int | list[int] = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty")


BASE = """
toy.model = @toy_model
toy.loss = @toy_loss()
toy_model.normalization = @toy_norm
toy_loss.time_sampler = @toy_gap()
toy_loss.guidance = @toy_guidance
toy_loss.flow_map = @toy_map()
"""
