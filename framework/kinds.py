"""The kinds of component: their names, gin modules, protocols, and what each is built with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from framework import protocols


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    `given` are the constructor arguments that whoever uses the component fills in (sizes,
    parameters); all others are settings. A kind without given arguments is built by gin on the
    spot, one with them is passed as a factory.
    """

    name: str
    module: str
    protocol: type
    given: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("time_embedding", "time_embeddings", protocols.TimeEmbedding, ("hidden_size",)),
        Kind("second_time", "second_times", protocols.SecondTime, ("embedding",)),
        Kind("normalization", "normalizations", protocols.Normalization, ("dim",)),
        Kind("modulation_norm", "modulation_norms", protocols.ModulationNorm, ("dim",)),
        Kind("qk_norm", "qk_norms", protocols.QKNorm, ("dim",)),
        Kind("initializer", "initializers", protocols.Initializer),
        Kind("attention", "attentions", protocols.Attention),
        Kind("model", "models", protocols.Model, ("shape", "num_classes")),
        Kind("time_sampler", "time_samplers", protocols.TimeSampler),
        Kind("guidance", "guidances", protocols.Guidance),
        Kind("flow_map", "flow_maps", protocols.FlowMap),
        Kind("loss", "losses", protocols.Loss),
        Kind("optimizer", "optimizers", torch.optim.Optimizer, ("parameters",)),
        Kind("schedule", "schedules", protocols.Schedule),
        Kind("weight_average", "weight_averages", protocols.WeightAverage),
        Kind("sampler", "samplers", protocols.Sampler),
        Kind("dataset", "datasets", protocols.Dataset),
        Kind("metric", "metrics", protocols.Metric, ("dataset",)),
    )
}

KIND_OF_PROTOCOL: dict[type, Kind] = {kind.protocol: kind for kind in KINDS.values()}
