"""Small networks and batches for tests, and a slow evaluator to compare with."""

from dataclasses import replace

import torch

from components.attentions import Dense
from components.initializers import XavierUniform
from components.models import DiT
from components.modulation_norms import ModulationRMS
from components.normalizations import RMS
from components.qk_norms import QKRMS
from components.second_times import Difference
from components.time_embeddings import Sinusoidal
from framework.protocols import Batch, Conditions, Evaluation, Times

SHAPE = (2, 4, 4)
CLASSES = 3


def generators(name):
    """A stream for each name."""
    return torch.Generator().manual_seed(sum(map(ord, name)))


def dit(seed=0, **parts):
    """A small DiT in float64 whose weights are all random, those that start at zero included."""
    settings = {
        "shape": SHAPE,
        "num_classes": CLASSES,
        "hidden_size": 16,
        "depth": 2,
        "num_heads": 2,
        "time_embedding": Sinusoidal,
        "second_time": Difference,
        "normalization": RMS,
        "modulation_norm": ModulationRMS,
        "qk_norm": QKRMS,
        "initializer": XavierUniform(),
        "attention": Dense(),
    }
    network = DiT(**(settings | parts)).double()
    return randomised(network, seed)


def randomised(network, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            draws = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(draws * 0.3)
    return network


def batch(size=4, seed=0, shape=SHAPE, classes=CLASSES):
    """A batch in float64 with uniforms of its own; the last label is the empty class."""
    g = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, size, *shape, generator=g, dtype=torch.float64)
    labels = torch.arange(size) % classes
    labels[-1] = classes
    drawn = {
        name: torch.rand(size, width, generator=g, dtype=torch.float64)
        for name, width in (("times", 4), ("guidance", 2), ("method", 2))
    }
    return Batch(x0, noise, labels, classes, lambda stream, width: drawn[stream][:, :width])


class FixedTimes:
    def __init__(self, t, s, s_velocity=None):
        self.times = Times(t, s, s if s_velocity is None else s_velocity)

    def __call__(self, u):
        return self.times


class FixedGuidance:
    weight = None

    def __init__(self, w):
        self.w = w

    def __call__(self, labels, empty_class, u):
        return Conditions(labels, torch.where(labels == empty_class, 1.0, self.w))


class SlowEvaluator:
    """One query after the other, `torch.func.jvp` over the whole network, nothing shared."""

    def __init__(self, network, averages=None):
        self.networks = {"trained": network, **(averages or {})}
        self.queries = []

    def __call__(self, *queries):
        self.queries.extend(queries)
        return tuple(self.evaluation(query) for query in queries)

    def evaluation(self, query):
        gradient = query.gradient and query.weights == "trained"
        with torch.set_grad_enabled(gradient):
            F, dF = self.with_tangent(self.networks[query.weights], query)
        if query.tangent and query.tangent.detach and dF is not None:
            dF = dF.detach()
        return Evaluation(F, dF)

    def with_tangent(self, network, query):
        if query.tangent is None:
            return network(query.x, query.t, query.s, query.c, query.w), None
        inputs = (query.x, query.t, query.s)
        given = (query.tangent.x, query.tangent.t, query.tangent.s)
        directions = tuple(
            torch.zeros_like(value) if d is None else d
            for value, d in zip(inputs, given, strict=True)
        )
        return torch.func.jvp(
            lambda x, t, s: network(x, t, s, query.c, query.w), inputs, directions
        )


def finite_difference(network, query, step=1e-5):
    """The derivative along the query's tangent by central differences, float64."""

    def at(sign):
        moved = {
            name: getattr(query, name) + sign * step * direction
            for name in ("x", "t", "s")
            if (direction := getattr(query.tangent, name)) is not None
        }
        q = replace(query, **moved)
        return network(q.x, q.t, q.s, q.c, q.w)

    return (at(1) - at(-1)) / (2 * step)
