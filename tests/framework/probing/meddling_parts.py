"""Components that change what they should leave alone, and an attention that is slightly wrong."""

import torch
from torch import Tensor, nn

from components.attentions.dense import Dense
from components.guidances.constant import ConstantGuidance
from components.time_samplers.gap_star import GapStar
from framework import register
from framework.protocols import Conditions, Times


@register.guidance("in_place")
class InPlaceGuidance(ConstantGuidance):
    """Drops labels in the batch itself."""

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        drawn = super().__call__(labels, empty_class, u)
        labels.copy_(drawn.c)
        return drawn


@register.optimizer("restarting")
def restarting(
    parameters: list[tuple[str, nn.Parameter]], lr: float = 1e-3
) -> torch.optim.Optimizer:
    with torch.no_grad():
        for _, parameter in parameters:
            parameter.mul_(0.5)
    return torch.optim.AdamW(parameters, lr=lr)


@register.time_sampler("mirrored")
class Mirrored(GapStar):
    """An honest change: other times and nothing else."""

    def __call__(self, u: Tensor) -> Times:
        return super().__call__(1 - u)


@register.attention("off")
class Off(Dense):
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return 1.01 * super().__call__(q, k, v)


@register.attention("elsewhere")
class Elsewhere(Dense):
    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise ValueError("needs a GPU")
