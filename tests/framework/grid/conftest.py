"""A real base configuration to make grids of."""

from collections.abc import Callable
from pathlib import Path

import pytest

import framework.training.experiment  # noqa: F401  registers train.*
from framework.configuration import Configuration
from framework.grid.plan import Plan, plan

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def base() -> Configuration:
    return Configuration.load([REPOSITORY / "gin/digits.gin"], ["grid.name = 'toy'"])


@pytest.fixture
def plan_of(base: Configuration) -> Callable[..., Plan]:
    return lambda *sets: plan(base.with_sets(sets), "toy")
