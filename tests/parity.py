"""Compare this repository's numbers with those of the released code.

    python -m tests.parity CASE.npz

prints one line a quantity with the largest error relative to the array's largest magnitude, and
exits 1 if one of them is above 1e-5. tests/golden holds the cases.
"""

from __future__ import annotations

import copy
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.attentions import Dense
from components.flow_maps import Plain, Scaled
from components.initializers import Spectral
from components.losses import TVM
from components.losses.draws import point_at
from components.models import DiT
from components.models.release_names import from_release
from components.modulation_norms import ModulationRMS, NoModulationNorm
from components.normalizations import RMS, LayerNorm
from components.qk_norms import NoQKNorm, QKRMS
from components.samplers import FlowMapSampler
from components.second_times import Difference
from components.time_embeddings import Sinusoidal
from framework.evaluator import Evaluator
from framework.flow import derivative, displacement
from framework.protocols import Batch, Conditions, FlowMap, Query, Tangent, Times

TOLERANCE = 1e-5


class Case:
    """One golden file: the released code's inputs, weights and results."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        with np.load(path) as arrays:
            self.config = json.loads(str(arrays["config"]))
            self._arrays = {name: arrays[name] for name in arrays.files if name != "config"}
        self.dtype = dtype

    def __getitem__(self, name: str) -> Tensor:
        value = torch.from_numpy(self._arrays[name])
        return value.to(self.dtype) if value.is_floating_point() else value

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the arrays whose name starts with the prefix, without it."""
        names = (name for name in self._arrays if name.startswith(prefix))
        return {name.removeprefix(prefix): self[name] for name in names}


@dataclass(frozen=True)
class Fixed:
    """The case's own times and conditions, as a time sampler and as a guidance."""

    times: Times
    conditions: Conditions
    weight: float | None = None

    def __call__(self, *_: object) -> Times:
        return self.times

    def conditions_of(self, *_: object) -> Conditions:
        return self.conditions


class FixedGuidance:
    weight = None

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        return self.conditions
