"""What each kind of component must offer, with shapes and units.

Shape letters: B batch, C channels, H height (or heads, beside N), W width, N tokens, D hidden size,
d head size. Time 1 is noise, time 0 is data; times are (B,) float32 unless said otherwise.
"""

from framework.protocols.data import Dataset, Examples, FieldMetric, Metric, Score
from framework.protocols.learning import (
    Batch,
    Conditions,
    Evaluate,
    Evaluation,
    FlowMap,
    FoundWeights,
    Guidance,
    Loss,
    LossTerms,
    Query,
    Schedule,
    Tangent,
    Times,
    TimeSampler,
    WeightAverage,
)
from framework.protocols.networks import (
    Attention,
    BlockModel,
    Initializer,
    Model,
    ModulationNorm,
    Normalization,
    QKNorm,
    Role,
    SecondTime,
    TimeEmbedding,
    has_blocks,
)
from framework.protocols.sampling import Field, Sampler

__all__ = [
    "Attention",
    "Batch",
    "BlockModel",
    "Conditions",
    "Dataset",
    "Evaluate",
    "Evaluation",
    "Examples",
    "Field",
    "FieldMetric",
    "FlowMap",
    "FoundWeights",
    "Guidance",
    "Initializer",
    "Loss",
    "LossTerms",
    "Metric",
    "Model",
    "ModulationNorm",
    "Normalization",
    "QKNorm",
    "Query",
    "Role",
    "Sampler",
    "Schedule",
    "Score",
    "SecondTime",
    "Tangent",
    "TimeEmbedding",
    "TimeSampler",
    "Times",
    "WeightAverage",
    "has_blocks",
]
