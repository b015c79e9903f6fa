from dataclasses import field, make_dataclass

import pytest

from framework.configuration import Configuration
from framework.configuration.roots import register_root
from tests.framework.configuration import toys


def identity(base, *sets):
    return Configuration.load([base], sets).resolve().identity


SAME = [
    ["toy_logging.every = 3"],
    ["toy_grid.name = 'a'"],
    ["toy.steps = 100"],
    ["toy_gap.std = 1"],
    ["toy_gap.std = 1e0"],
    ["time_samplers.toy_gap.mean = -8e-1"],
    ["toy_loss.betas = [0.9, 0.95]"],
    ["toy.loss = @toy_loss"],
    ["toy.loss = @s/toy_loss()"],
    ["toy.loss = @s/toy_loss()", "s/toy_gap.std = 1.0"],
    ["toy_gap.shift = 0"],
    ["toy_gap.shift = -0.0"],
    ["toy.late = False"],
    ["sampler = @toy_gap()", "toy_loss.time_sampler = %sampler"],
    ["toy_model.width = 1"],
]
DIFFERENT = [
    ["toy.steps = 101"],
    ["toy_gap.std = 1.5"],
    ["toy_gap.shift = 0.5"],
    ["toy.late = True"],
    ["toy.device = 'cuda'"],
    ["toy_loss.samplers = (@toy_gap(),)"],
    ["toy_loss.time_sampler = @toy_uniform()", "toy_uniform.low = 0.1"],
    ["toy.loss = @s/toy_loss()", "s/toy_gap.std = 1.25"],
]


@pytest.mark.parametrize("sets", SAME)
def test_spelling_does_not_enter(base, sets):
    assert identity(base, *sets) == identity(base)


def test_different_runs_differ(base):
    found = [identity(base), *(identity(base, *sets) for sets in DIFFERENT)]
    assert len(set(found)) == len(found)


def test_places_do_not_enter(base):
    schedule = "toy.schedule = @toy_schedule()"
    here = identity(base, schedule, "toy_schedule.path = '/here'")
    assert here == identity(base, schedule)
    assert here != identity(base, schedule, "toy_schedule.warmup = 1")


def test_a_root_of_added_settings_alone_does_not_enter(base):
    before = identity(base)
    extra = make_dataclass("Extra", [("x", int, field(default=1, metadata={"added": 1}))])
    register_root("toy_extra", extra, identity=True)
    assert identity(base) == before
    assert identity(base, "toy_extra.x = 2") != before


def test_order_does_not_enter(write, base):
    lines = [line for line in toys.BASE.splitlines() if line]
    assert identity(write("b.gin", "\n".join(lines[::-1]) + "\n")) == identity(base)


def test_the_identity_of_old_runs_stands(base):
    assert identity(base)[:16] == "153d39db1ec70b98"  # a change here orphans every finished run
