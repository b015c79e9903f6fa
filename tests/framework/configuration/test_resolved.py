import json

import gin
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework import UserError
from framework.configuration import Configuration
from framework.configuration.parsing import read_set
from tests.framework.configuration import toys

BINDINGS = st.fixed_dictionaries(
    {},
    optional={
        "toy.steps": st.integers(1, 10**9),
        "toy.rate": st.one_of(st.none(), st.floats(1e-9, 1e9), st.integers(1, 5)),
        "toy.device": st.text(max_size=8),
        "toy.precision": st.sampled_from(["fp32", "bf16"]),
        "toy_logging.every": st.integers(1, 100),
        "toy_gap.mean": st.floats(allow_nan=False),
        "toy_loss.target_decay": st.floats(0, 1),
        "toy_loss.betas": st.one_of(
            st.tuples(st.floats(0, 1), st.floats(0, 1)),
            st.lists(st.integers(0, 1), min_size=2, max_size=2),
        ),
        "toy_model.hidden_size": st.integers(1, 64),
    },
)


def load(base, *sets):
    return Configuration.load([base], sets).resolve()


@given(bindings=BINDINGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_text_loads_as_an_equal_run(base, tmp_path, bindings):
    resolved = Configuration.load([base]).with_bindings(bindings).resolve()
    frozen = tmp_path / "config.gin"
    frozen.write_text(resolved.text())
    again = Configuration.load([frozen]).resolve()
    assert again == resolved
    assert again.text() == resolved.text()
    assert again.identity == resolved.identity
    assert json.loads(again.json()).keys() == resolved.settings.keys()


def test_text_lists_every_setting_in_one_order(write, base):
    lines = [line for line in toys.BASE.splitlines() if line]
    turned = write("turned.gin", "\n".join(reversed(lines)) + "\n")
    text = load(base).text()
    assert load(turned).text() == text
    assert text.startswith("toy.model = @models.toy_model\ntoy.loss = @losses.toy_loss()\n")
    assert "\n\nlosses.toy_loss.time_sampler = @time_samplers.toy_gap()\n" in text
    assert "toy_logging.every = 20\n" in text
    assert text.endswith("\n")


def test_text_leaves_the_grid_out(base):
    assert "toy_grid" not in load(base, "toy_grid.name = 'a'").text()


def test_settings_are_flat_data(base):
    settings = load(base, "toy.loss = @s/toy_loss()", "s/toy_gap.std = 2").settings
    assert settings["s/time_samplers.toy_gap.std"] == 2.0
    assert str(settings["s/losses.toy_loss.time_sampler"]) == "@s/time_samplers.toy_gap()"


def test_json_writes_references_as_text(base):
    found = json.loads(load(base, "toy_gap.mean = 1e999").json())
    assert found["toy.loss"] == "@losses.toy_loss()"
    assert found["losses.toy_loss.betas"] == [0.9, 0.95]
    assert found["time_samplers.toy_gap.mean"] == "1e999"


def test_components_and_their_sources(base):
    resolved = load(base)
    selectors = [component.selector for component in resolved.components]
    assert selectors == [
        "flow_maps.toy_map",
        "guidances.toy_guidance",
        "losses.toy_loss",
        "models.toy_model",
        "normalizations.toy_norm",
        "time_samplers.toy_gap",
    ]
    sources = resolved.sources()
    assert list(sources)[: len(selectors)] == selectors
    assert {len(digest) for digest in sources.values()} == {64}


def test_builds_what_the_text_says(base):
    resolved = load(base, "toy_gap.std = 2", "toy_norm.eps = 0.5", "toy_loss.samplers=[@toy_gap]")
    resolved.activate()
    toy = resolved.build("toy")
    assert toy.loss.time_sampler.std == 2.0
    assert [sampler.std for sampler in toy.loss.samplers] == [2.0]
    assert toy.model(shape=(1,), num_classes=2).norm.eps == 0.5
    assert resolved.build("toy_logging") == toys.ToyLogging(20)


def test_activating_forgets_what_was_there(base):
    load(base, "toy_gap.std = 2").activate()
    resolved = load(base)
    resolved.activate()
    assert resolved.build("toy").loss.time_sampler.std == 1.0


def test_loading_leaves_gin_alone(base):
    gin.clear_config()
    load(base)
    assert gin.config_str().strip() == ""


def test_a_refusing_constructor_is_named(base):
    resolved = load(base, "toy_loss.time_sampler = @toy_uniform()", "toy_uniform.low = 0.5")
    resolved.activate()
    with pytest.raises(UserError) as caught:
        resolved.build("toy")
    assert str(caught.value) == "time_samplers.toy_uniform: low must not be one half"


@pytest.mark.parametrize(
    ("eps", "message"),
    [(2, "normalizations.toy_norm: eps is too large"), (3, "toy_norm.eps is far too large")],
)
def test_a_refusing_factory_is_named(base, eps, message):
    resolved = load(base, f"toy_norm.eps = {eps}")
    resolved.activate()
    toy = resolved.build("toy")
    with pytest.raises(UserError) as caught, resolved.refusals():
        toy.model(shape=(1,), num_classes=2)
    assert str(caught.value) == message


def test_other_value_errors_are_bugs(base):
    with pytest.raises(ValueError, match="mine"), load(base).refusals():
        raise ValueError("mine")


def test_set_may_leave_out_spaces():
    assert read_set("toy.steps=3").value == 3
