"""Components that break what their kind promises and would train, and unusual ones that do not."""

from collections.abc import Callable

import torch
from torch import nn

from framework import register
from framework.protocols import Metric, Score, Times


@register.attention("narrow")
class Narrow:
    def __call__(self, q, k, v):
        return v[:, :, :1]


@register.attention("linear")
class Linear:
    """Not softmax, and meant."""

    def __call__(self, q, k, v):
        return q @ (k.mT @ v) / k.shape[2]


@register.time_embedding("rounded")
class Rounded(nn.Module):
    """A thousand times, as in a chain of so many steps."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.layer = nn.Linear(1, hidden_size)

    def forward(self, time):
        return self.layer((1000 * time).round()[:, None] / 1000)


@register.normalization("mean")
class Mean(nn.Module):
    def __init__(self, dim: int):
        super().__init__()

    def forward(self, x):
        return x.mean(-1, keepdim=True)


@register.normalization("torch_layer")
class TorchLayer(nn.LayerNorm):
    """In bfloat16 it gives float32, and its weights are nothing until they are set."""

    def __init__(self, dim: int):
        super().__init__(dim)
        self.weight = nn.Parameter(torch.full((dim,), torch.nan))


@register.normalization("noisy")
class Noisy(Mean):
    def forward(self, x):
        return x + torch.randn_like(x)


@register.normalization("wide_only")
class WideOnly(Noisy):
    def __init__(self, dim: int):
        super().__init__(dim)
        if dim < 48:
            raise ValueError("for 48 and more")


@register.time_sampler("late")
class Late:
    def __call__(self, u):
        return Times(1 + u[:, 0].float(), u[:, 0].float(), u[:, 0].float())


@register.time_sampler("backwards")
class Backwards:
    def __call__(self, u):
        t = u[:, 0].float()
        return Times(t / 2, t, t)


@register.time_sampler("not_a_number")
class NotANumber:
    def __call__(self, u):
        t = u[:, 0].float() * torch.nan
        return Times(t, t, t)


@register.time_sampler("column")
class Column:
    def __call__(self, u):
        one = torch.ones(len(u), 1)
        return Times(one, one, one)


@register.time_sampler("double")
class Double:
    def __call__(self, u):
        return Times(u[:, 0].clamp(min=0.5), u[:, 1] / 2, u[:, 1] / 2)


@register.optimizer("first_only")
def first_only(parameters, lr: float = 1e-2):
    return torch.optim.SGD(parameters[:1], lr=lr)


@register.optimizer("nothing")
def nothing(parameters, lr: float = 1e-2):
    return None


@register.optimizer("rate_by_another_name")
class RateByAnotherName(torch.optim.Optimizer):
    def __init__(self, parameters, rate: float = 1e-2):
        super().__init__([p for _, p in parameters], {"rate": rate})

    def step(self, closure=None):
        pass


@register.optimizer("part")
def part(parameters, lr: float = 1e-2):
    """Leaves biases where they are, and says so."""
    for name, parameter in parameters:
        parameter.requires_grad_(not name.endswith("bias"))
    return torch.optim.SGD([p for _, p in parameters if p.requires_grad], lr=lr)


@register.optimizer("late_start")
class LateStart(torch.optim.SGD):
    """Waits for three steps."""

    def __init__(self, parameters, lr: float = 1e-2):
        super().__init__(parameters, lr)
        self.param_groups[0]["steps"] = 0

    def step(self, closure=None):
        self.param_groups[0]["steps"] += 1
        return super().step() if self.param_groups[0]["steps"] > 3 else None


@register.optimizer("forgetful")
class Forgetful(torch.optim.SGD):
    """Its state is complete but for the number of steps, by which it decays."""

    def __init__(self, parameters, lr: float = 1e-2):
        super().__init__(parameters, lr)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            group["lr"] = 1e-2 / self.steps
        return super().step()


@register.optimizer("unreadable")
class Unreadable(torch.optim.SGD):
    """A checkpoint can be written of it, and none can be read."""

    def __init__(self, parameters, lr: float = 1e-2):
        super().__init__(parameters, lr)
        self.param_groups[0]["rng"] = torch.Generator()


class Fixed:
    score = Score("fixed", 0.0, "lower")

    def __init__(self, dataset):
        pass

    def __call__(self, samples, labels):
        return [self.score]


@register.metric("number")
class Number(Fixed):
    def __call__(self, samples, labels):
        return 1.0


@register.metric("upwards")
class Upwards(Fixed):
    score = Score("up", 0.0, "up")


@register.metric("fixed")
class One(Fixed):
    """Its value is a tensor, in a tuple."""

    def __init__(self, dataset, scale: float = 1.0):
        self.scale = scale

    def __call__(self, samples, labels):
        return (Score("fixed", self.scale * samples.mean(), "lower"),)


@register.metric("fixed_too")
class Two(Fixed):
    pass


@register.metric("around")
class Around(Fixed):
    """It passes on what another metric returns."""

    def __init__(self, dataset, inner: Callable[..., Metric]):
        self.inner = inner(dataset=dataset)

    def __call__(self, samples, labels):
        return self.inner(samples, labels)
