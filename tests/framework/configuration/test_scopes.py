"""Scopes mean what they mean to gin: the same text is built by gin alone and by way of the data."""

import gin
import pytest

from framework.configuration import Configuration
from tests.framework.configuration import toys

CASES = [
    "toy.loss = @s/toy_loss()\ntoy_gap.std = 2.0\ns/toy_gap.mean = 3.0\n",
    "toy.loss = @a/b/toy_loss()\na/toy_gap.std = 2.0\na/b/toy_gap.mean = 3.0\n",
    "toy.loss = @s/toy_loss()\ns/toy_loss.time_sampler = @r/toy_gap()\nr/toy_gap.std = 5.0\n",
    "toy.loss = @s/toy_loss()\ntoy_loss.samplers = (@toy_gap(), @r/toy_gap())\n"
    "s/toy_gap.std = 2.0\nr/toy_gap.std = 3.0\n",
    "toy_loss.named = {'x': @a/toy_gap(), 'y': @toy_gap()}\na/toy_gap.mean = 1.0\n",
    "toy_gap.std = %spread\nspread = 4.0\n",
    "toy.model = @m/toy_model\nm/toy_norm.eps = 0.25\n",
]


def outcome(toy: toys.Toy) -> list[object]:
    samplers = [toy.loss.time_sampler, *toy.loss.samplers, *(toy.loss.named or {}).values()]
    norm = toy.model(shape=(1,), num_classes=2).norm
    return [[(s.mean, s.std) for s in samplers], norm.eps]


@pytest.mark.parametrize("case", CASES)
def test_as_gin_does(write, case):
    path = write("a.gin", toys.BASE.replace("@toy_guidance", "@toy_guidance()") + case)
    resolved = Configuration.load([path]).resolve(refuse_unused=False)
    resolved.activate()
    ours = outcome(resolved.build("toy"))
    gin.clear_config()
    gin.parse_config_file(str(path))
    assert ours == outcome(gin.get_configurable("roots.toy")())


def test_a_macro_stands_for_its_value(write):
    path = write("a.gin", toys.BASE + "gap = @toy_gap()\ntoy_loss.time_sampler = %gap\n")
    settings = Configuration.load([path]).resolve().settings
    assert "time_samplers.toy_gap.std" in settings
