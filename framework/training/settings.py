"""What a gin file says of a run: `train.*`, `evaluation.*`, `logging.*` and `run.*`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch

from framework.errors import UserError
from framework.protocols import (
    Dataset,
    Loss,
    Metric,
    Model,
    Sampler,
    Schedule,
    WeightAverage,
)
from framework.settings import Content, NonNegativeInt, Positive, PositiveInt
from framework.training import weights

StoredWeights = Annotated[str, Content(weights.pin, weights.content)]
Precision = Literal["fp32", "bf16", "fp16"]
Distribution = Literal["ddp", "fsdp"]
Diagnostic = Literal["modulation", "norms", "bins", "lipschitz"]


@dataclass(frozen=True)
class Train:
    """One training run.

    `evaluation_average` is theta**, the weights that are sampled from; `clip_norm` bounds the
    global gradient norm; `start` names what to start from, the evaluation weights of another run:
    its folder, one of its checkpoints or a .safetensors file. `device` is "auto" (a GPU if there is
    one), "cpu" or "cuda[:N]".
    bf16 and fp16 mean autocast over float32 weights, fp16 with a gradient scaler.

    Memory and speed, not mathematics: `checkpointing` = k runs every k-th block again in the
    backward pass instead of keeping its activations (1: all blocks, 0: none); `accumulation` is the
    number of micro-batches that a batch goes through in, which several processes share;
    `cuda_graphs` replays a step's forward and backward passes from recordings, one of them or one
    of a batch's first micro-batch and one of the others; `keep_heads` lets a compiled step keep
    normalised queries and keys instead of normalising them again in the backward pass,
    `keep_weights` the bf16 or fp16 copies of weights instead of casting them again; without
    `workspaces` cuBLAS has no memory of its own, which large networks are faster with;
    `distribution` says what each of several processes holds: all weights ("ddp"), or its part of
    them, of their averages and of the optimizer's state ("fsdp").

    Raises:
        UserError: two settings exclude each other.
    """

    model: Callable[..., Model]
    loss: Loss
    optimizer: Callable[..., torch.optim.Optimizer]
    schedule: Schedule
    dataset: Dataset
    evaluation_average: WeightAverage
    steps: PositiveInt
    batch_size: PositiveInt
    seed: NonNegativeInt = 0
    device: str = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    deterministic: bool = False
    clip_norm: Positive | None = None
    checkpointing: NonNegativeInt = field(default=0, metadata={"added": 0})
    accumulation: PositiveInt = field(default=1, metadata={"added": 1})
    cuda_graphs: bool = field(default=False, metadata={"added": False})
    keep_heads: bool = field(default=False, metadata={"added": False})
    keep_weights: bool = field(default=True, metadata={"added": True})
    workspaces: bool = field(default=True, metadata={"added": True})
    distribution: Distribution = field(default="ddp", metadata={"added": "ddp"})
    start: StoredWeights | None = field(default=None, metadata={"added": None})

    def __post_init__(self) -> None:
        if self.deterministic and not self.workspaces:
            raise UserError(
                "train.workspaces = False: PyTorch calls products without a workspace not "
                "deterministic, and train.deterministic = True refuses such: change one of them"
            )


@dataclass(frozen=True)
class Evaluation:
    """How a run is judged: at its end, and every `every` steps if that is set.

    Each NFE is scored on `blocks` disjoint sets of `samples` draws, made `batch_size` at a time at
    guidance weight `weight`: one or several (None: the one that the loss's guidance names).

    With `nfe = None` the sampler finds by itself how many evaluations it needs: their mean over
    the samples is then an outcome, the score `nfe`, and the other scores have no NFE.

    Raises:
        UserError: an NFE or a weight is there twice, whose scores could not be told apart.
    """

    metrics: tuple[Callable[..., Metric], ...]
    sampler: Sampler
    nfe: tuple[PositiveInt, ...] | None = (1, 2, 4)
    samples: PositiveInt = 1000
    blocks: PositiveInt = 1
    every: PositiveInt | None = None
    weight: Positive | tuple[Positive, ...] | None = None
    batch_size: PositiveInt = 256

    def __post_init__(self) -> None:
        for name, values in (("nfe", self.nfe), ("weight", self.weight)):
            if isinstance(values, tuple) and len(set(values)) < len(values):
                raise UserError(f"evaluation.{name} = {values} has one of them twice: remove it")

    @property
    def counts(self) -> tuple[int | None, ...]:
        """The numbers of evaluations to sample with; None where the sampler finds it."""
        return (None,) if self.nfe is None else self.nfe


@dataclass(frozen=True)
class Logging:
    """What a run writes down, and how often in steps. Not part of its identity.

    Scalars are means over the steps since the last record, the last 64 of them where they are more.
    `diagnostics` are what is measured beside the loss; see `framework.training.diagnostics`.
    """

    every: PositiveInt = 20
    checkpoint_every: PositiveInt = 500
    pictures: NonNegativeInt = 20
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Run:
    """Where a run comes from: its grid, arm and what that arm varies. Not part of its identity.

    `metric` and `metric_nfe` are what the grid ranks by; "" and 0 where it does not say.
    """

    grid: str = ""
    arm: str = ""
    varied: dict[str, Any] = field(default_factory=dict)
    metric: str = ""
    metric_nfe: int = 0
    command: str = ""
