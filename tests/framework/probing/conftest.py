"""Small grids of real components, probed in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import framework.training.experiment  # noqa: F401  registers train.*
from framework.configuration import Configuration
from framework.grid.plan import Plan, plan
from framework.probing import probe
from framework.probing.verdicts import Probed, refusals
from tests.registered import registry_kept

REPOSITORY = Path(__file__).parents[3]
TINY = (
    "models.dit.hidden_size = 16",
    "models.dit.depth = 1",
    "models.dit.num_heads = 2",
    "grid.name = 'toy'",
)


def toy_plan(*sets: str, plugins: tuple[str, ...] = ()) -> Plan:
    files = [REPOSITORY / "gin/digits.gin"]
    return plan(Configuration.load(files, [*TINY, *sets], plugins), "toy")


@pytest.fixture(scope="module", autouse=True)
def _in_this_process():
    """Forked workers have a test of their own."""
    before, probe.PARALLEL = probe.PARALLEL, 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    probe.PARALLEL = before
    torch.set_num_threads(threads)


def probed_and_refused(planned: Plan) -> tuple[dict[str, Probed], list[str]]:
    probed = probe.probe_all(planned)
    return {one.arm: one for one in probed}, refusals(probed, probe.baseline_of(planned, probed))


@pytest.fixture
def refused() -> Callable[..., list[str]]:
    """Return the function that gives a grid's refusals."""
    return lambda *sets, plugins=(): probed_and_refused(toy_plan(*sets, plugins=plugins))[1]


@pytest.fixture(scope="package", autouse=True)
def planted_parts_stay_here():
    """Take planted components out of the registry when these tests are over."""
    with registry_kept():
        yield
