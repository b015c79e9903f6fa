"""Ranges of the settings that optimizers share."""

from __future__ import annotations

from typing import Annotated

import annotated_types

Momentum = Annotated[float, annotated_types.Interval(ge=0, lt=1)]
Betas = tuple[Momentum, Momentum]
