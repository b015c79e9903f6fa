"""Protocols of what is learned from and what samples are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from framework.protocols.sampling import Field


@dataclass(frozen=True)
class Examples:
    """Examples x (B, ...) float32, standardised for the network, and labels (B,) int64."""

    x: Tensor
    labels: Tensor


class Dataset(Protocol):
    """Labelled examples in memory or on disk.

    `name` is short and names what is in it; `shape` is one example's, without batch.
    """

    name: str
    shape: tuple[int, ...]
    num_classes: int

    def __len__(self) -> int:
        """Return the number of training examples."""

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return the training examples of indices (B,) int64.

        u (B, 2) are uniforms in float64 for whatever the dataset draws; a static one ignores them.
        Several threads may ask at once.
        """

    def labels(self) -> Tensor:
        """Return all training labels, (len,) int64."""

    def held_out(self) -> Examples:
        """Return the examples kept from training; empty where there are none."""

    def images(self, x: Tensor) -> Tensor:
        """Return pictures of examples x (B, ...) as uint8 (B, H, W, 1 or 3)."""


@dataclass(frozen=True)
class Score:
    """One number about a set of samples and which way is better."""

    name: str
    value: float
    direction: Literal["lower", "higher"]


@runtime_checkable
class FieldMetric(Protocol):
    """A metric that asks the trained flow itself, beside or instead of its samples.

    It is a `Metric` too, whose scores of samples may be an empty list.
    """

    def field_scores(self, field: Field, noise: Tensor, labels: Tensor, w: Tensor) -> list[Score]:
        """Return scores of one jump from noise (M, ...) to data, for labels and weights w (M,)."""


@runtime_checkable
class SharedMetric(Protocol):
    """A metric whose costly part is made sample by sample: the processes of a run share it.

    It is a `Metric` too; `of_features(features(samples))` is what it returns for samples.
    """

    def features(self, samples: Tensor) -> Tensor:
        """Return features (M, F) of samples (M, ...), standardised like the data."""

    def of_features(self, features: Tensor) -> list[Score]:
        """Return the scores of samples with the features (M, F)."""


class Metric(Protocol):
    """Judges samples against a dataset. Built with `dataset`.

    It is built before training too, so that a dataset that it cannot judge, or what it lacks, is
    said then and not after days: its constructor raises a UserError for it, and leaves what takes
    time to the first call.

    By a class attribute `score_names`, a tuple, it may say what its scores are called, without
    hashes: then a grid that ranks by a name that is none of them is refused before it trains. By
    `least_samples` it may say how many it needs: fewer are refused then.
    """

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the scores of samples (M, ...), standardised like the data, asked of labels (M,).

        A score whose value depends on a feature extractor carries its hash: "fd@digits-1a2b3c4d".
        One whose value depends on the metric's settings carries those: no two metrics of a run may
        return one name.
        """
