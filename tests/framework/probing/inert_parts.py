"""A component of each kind that passes everything on and has a setting that reaches nobody."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from framework import protocols as kinds
from framework import register
from framework.protocols import Score


@register.initializer("inert")
def initializer(inner: kinds.Initializer, ignored: float = 0.0) -> kinds.Initializer:
    return inner


@register.attention("inert")
def attention(inner: kinds.Attention, ignored: float = 0.0) -> kinds.Attention:
    return inner


@register.time_sampler("inert")
def time_sampler(inner: kinds.TimeSampler, ignored: float = 0.0) -> kinds.TimeSampler:
    return inner


@register.guidance("inert")
def guidance(inner: kinds.Guidance, ignored: float = 0.0) -> kinds.Guidance:
    return inner


@register.flow_map("inert")
def flow_map(inner: kinds.FlowMap, ignored: float = 0.0) -> kinds.FlowMap:
    return inner


@register.loss("inert")
def loss(inner: kinds.Loss, ignored: float = 0.0) -> kinds.Loss:
    return inner


@register.schedule("inert")
def schedule(inner: kinds.Schedule, ignored: float = 0.0) -> kinds.Schedule:
    return inner


@register.weight_average("inert")
def weight_average(inner: kinds.WeightAverage, ignored: float = 0.0) -> kinds.WeightAverage:
    return inner


@register.sampler("inert")
def sampler(inner: kinds.Sampler, ignored: float = 0.0) -> kinds.Sampler:
    return inner


@register.dataset("inert")
def dataset(inner: kinds.Dataset, ignored: float = 0.0) -> kinds.Dataset:
    return inner


@register.time_embedding("inert")
def time_embedding(
    hidden_size: int, inner: Callable[[int], kinds.TimeEmbedding], ignored: float = 0.0
) -> kinds.TimeEmbedding:
    return inner(hidden_size)


@register.second_time("inert")
def second_time(
    embedding: Callable[[], kinds.TimeEmbedding],
    inner: Callable[..., kinds.SecondTime],
    ignored: float = 0.0,
) -> kinds.SecondTime:
    return inner(embedding)


@register.normalization("inert")
def normalization(
    dim: int, inner: Callable[[int], kinds.Normalization], ignored: float = 0.0
) -> kinds.Normalization:
    return inner(dim)


@register.modulation_norm("inert")
def modulation_norm(
    dim: int, inner: Callable[[int], kinds.ModulationNorm], ignored: float = 0.0
) -> kinds.ModulationNorm:
    return inner(dim)


@register.qk_norm("inert")
def qk_norm(dim: int, inner: Callable[[int], kinds.QKNorm], ignored: float = 0.0) -> kinds.QKNorm:
    return inner(dim)


@register.model("inert")
def model(
    shape: tuple[int, ...],
    num_classes: int,
    inner: Callable[..., kinds.Model],
    ignored: float = 0.0,
) -> kinds.Model:
    return inner(shape=shape, num_classes=num_classes)


@register.optimizer("inert")
def optimizer(
    parameters: list[tuple[str, nn.Parameter]],
    inner: Callable[..., torch.optim.Optimizer],
    ignored: float = 0.0,
) -> torch.optim.Optimizer:
    return inner(parameters)


@register.metric("inert")
class Metric:
    def __init__(self, dataset: kinds.Dataset, ignored: float = 0.0) -> None:
        self.dataset = dataset

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        return [Score("spread", float(samples.std()), "higher")]
