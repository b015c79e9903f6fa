"""What the report is made from: one grid, gathered in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Pictures = tuple[NDArray[np.uint8], NDArray[np.int64] | None]
"""Images (n, H, W, C) and their classes (n,), or None for a dataset without classes."""

RUN_COLUMNS = (
    "arm", "variant", "seed", "identity", "directory", "state", "step", "steps", "seconds",
    "step_seconds", "flops_per_step", "cause", "diverged_step", "commit",
)  # fmt: skip
"""Columns of `GridResults.runs`; one row a run of the grid, whether or not it has results."""


@dataclass(frozen=True)
class Arm:
    """One arm of a grid.

    Attributes:
        name: what tables call it.
        settings: binding -> the value's text as in gin, of everything that varies in the grid.
        variants: the settings that were tuned for it, by variant name; empty without `tune`.
    """

    name: str
    settings: Mapping[str, str]
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFacts:
    """What one run says about where it came from; empty where it did not say.

    `settings` are all of its configuration: binding -> JSON value.
    """

    commit: str = ""
    host: str = ""
    device: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


class RunReader(Protocol):
    """Reads the heavy parts of single runs, when a report wants them."""

    def samples(self, directory: Path) -> dict[tuple[int, int], Pictures]:
        """Return images from fixed latents and classes by (step, nfe)."""
        ...

    def facts(self, directory: Path) -> RunFacts:
        """Return where the run came from."""
        ...

    def file(self, directory: Path) -> Path | None:
        """Return the run's HDF5 file, None where it has none."""
        ...


@dataclass(frozen=True)
class GridResults:
    """One grid: its manifest, the state of its runs and everything they logged.

    Attributes:
        name: the grid's name.
        description: one line from its author.
        directory: the grid's folder; runs' directories are relative to it.
        metric: what to rank by, without a feature hash; None to choose.
        metric_nfe: at how many network evaluations; None to choose.
        baseline: the arm to compare with; None for the first.
        seeds: the seeds asked for.
        axes: binding -> the values' texts, of the axes that form a product.
        equivalent: bindings that change cost, not mathematics.
        arms: all arms in the manifest's order.
        runs: RUN_COLUMNS, one row a run.
        frame: the tidy results, with arm and variant as in `runs`.
        command: what started the grid.
        reader: access to single runs.
        warnings: what could not be read.
    """

    name: str
    description: str
    directory: Path
    metric: str | None
    metric_nfe: int | None
    baseline: str | None
    seeds: tuple[int, ...]
    axes: Mapping[str, tuple[str, ...]]
    equivalent: tuple[str, ...]
    arms: tuple[Arm, ...]
    runs: pd.DataFrame
    frame: pd.DataFrame
    command: str
    reader: RunReader
    warnings: tuple[str, ...] = ()

    @property
    def arm_names(self) -> list[str]:
        """Names of the arms, in the manifest's order."""
        return [arm.name for arm in self.arms]
