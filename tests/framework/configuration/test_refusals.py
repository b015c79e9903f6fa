"""What a run may not say, each answered in one line that names the place and the remedy."""

import pytest

from framework import UserError
from framework.configuration import Configuration
from tests.framework.configuration import toys

GAPS = "such as @time_samplers.toy_gap(), @time_samplers.toy_uniform()"
LINE = toys.BASE.count("\n") + 1
SWAP_BACK = "toy_loss.time_sampler = @toy_gap()"

CASES = {
    "unknown component": (
        "toy.loss = @losses.toy_los()",
        "@losses.toy_los(): no loss is called 'toy_los'; did you mean toy_loss, toy_other? Known: ",
    ),
    "unknown kind": (
        "toy.loss = @loses.toy_loss()",
        "@loses.toy_loss(): no component is called 'loses.toy_loss'; did you mean losses.toy_loss",
    ),
    "unknown root": (
        "toi.steps = 3",
        "toi.steps: neither a component nor a root is called 'toi'; did you mean toy",
    ),
    "misspelt setting of a root": (
        "toy.stepz = 3",
        "toy.stepz: toy has no setting 'stepz'; did you mean steps?",
    ),
    "misspelt setting of a component": (
        "losses.toy_loss.tarjet_decay = 0.9",
        "losses.toy_loss.tarjet_decay: losses.toy_loss has no setting 'tarjet_decay'; "
        "did you mean target_decay?",
    ),
    "setting unlike any": (
        "toy_gap.zzz = 0.9",
        "toy_gap.zzz: time_samplers.toy_gap has no setting 'zzz'; it has mean, std, shift",
    ),
    "out of range": ("toy.steps = 0", "toy.steps = 0: should be greater than or equal to 1"),
    "negative deviation": (
        "toy_gap.std = -1.0",
        "time_samplers.toy_gap.std = -1.0: should be greater than 0",
    ),
    "wrong type": ("toy.steps = 1.5", "toy.steps = 1.5: should be a valid integer"),
    "truth for a number": ("toy.rate = True", "toy.rate = True: should be a valid number"),
    "not a choice": ("toy.precision = 'fp8'", "toy.precision = 'fp8': should be 'fp32' or 'bf16'"),
    "wrong length": (
        "toy_loss.betas = (1, 2, 3)",
        "losses.toy_loss.betas = (1, 2, 3): Tuple should have at most 2 items",
    ),
    "wrong kind": (
        "toy_loss.time_sampler = @toy_other()",
        "losses.toy_loss.time_sampler = @losses.toy_other(): @losses.toy_other() is a loss; "
        f"a time_sampler is wanted, {GAPS}",
    ),
    "a number for a component": (
        "toy_loss.time_sampler = 3",
        f"losses.toy_loss.time_sampler = 3: wants a time_sampler, {GAPS}",
    ),
    "a component for a number": (
        "toy.steps = @toy_norm",
        "toy.steps = @normalizations.toy_norm: @normalizations.toy_norm is a normalization; "
        "a plain value is wanted",
    ),
    "one for several": (
        "toy_loss.samplers = @toy_gap",
        "losses.toy_loss.samplers = @time_samplers.toy_gap: wants several: "
        "write (@time_samplers.toy_gap(),)",
    ),
    "wrong kind inside": (
        "toy_loss.named = {'a': @toy_norm}",
        "losses.toy_loss.named = {'a': @normalizations.toy_norm}: @normalizations.toy_norm is "
        "a normalization; a time_sampler is wanted",
    ),
    "given": (
        "toy_norm.dim = 3",
        "toy_norm.dim: whoever uses normalizations.toy_norm gives it 'dim': remove this binding",
    ),
    "unused component": (
        "toy_uniform.low = 0.3",
        "time_samplers.toy_uniform.low: the run does not use time_samplers.toy_uniform; its "
        "time_sampler is time_samplers.toy_gap: remove this binding or refer to the component",
    ),
    "unused scope": (
        "a/toy_gap.std = 0.3",
        "a/time_samplers.toy_gap.std: nothing is built in the scope 'a'",
    ),
    "scoped root": ("a/toy.steps = 3", "a/toy.steps: nothing is built in the scope 'a'"),
    "scoped grid": ("a/toy_grid.seeds = 3", "a/toy_grid.seeds: nothing is built in the scope 'a'"),
    "unused macro": (
        "steps = 3",
        "nothing uses the macro 'steps': write %steps where it is wanted, or component.setting",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_in_a_file_with_its_line(write, case):
    text, message = CASES[case]
    path = write("a.gin", f"{toys.BASE}{text}\n")
    with pytest.raises(UserError) as caught:
        Configuration.load([path]).resolve()
    assert str(caught.value).startswith(f"a.gin:{LINE}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_refused_on_the_command_line(base, case):
    text, message = CASES[case]
    with pytest.raises(UserError) as caught:
        Configuration.load([base], [text]).resolve()
    assert str(caught.value).startswith(f"--set: {message}")


def test_a_binding_that_inner_scopes_override_everywhere(write):
    scoped = toys.BASE.replace("@toy_gap()", "@s/toy_gap()") + "s/toy_gap.std = 2.0\n"
    path = write("a.gin", scoped)
    with pytest.raises(UserError) as caught:
        Configuration.load([path], ["toy_gap.std = 0.5"]).resolve()
    assert str(caught.value) == (
        "--set: time_samplers.toy_gap.std: another binding of an inner scope holds wherever it "
        "would: bind s/time_samplers.toy_gap.std instead"
    )
    settings = Configuration.load([path], ["toy_gap.mean = 0.5"]).resolve().settings
    assert settings["s/time_samplers.toy_gap.mean"] == 0.5


def test_required_setting_says_who_needs_it(base):
    with pytest.raises(UserError) as caught:
        Configuration.load([base], ["toy_loss.time_sampler = @toy_uniform()"]).resolve()
    assert str(caught.value) == (
        "time_samplers.toy_uniform.low is not bound: losses.toy_loss.time_sampler (--set) uses "
        "time_samplers.toy_uniform, which needs it: bind it, it has no default"
    )


def test_required_component_says_which_there_are(write):
    text = toys.BASE.replace("toy_loss.time_sampler", "s/toy_loss.time_sampler")
    with pytest.raises(UserError) as caught:
        Configuration.load([write("a.gin", text)]).resolve()
    assert str(caught.value).startswith(
        "losses.toy_loss.time_sampler is not bound: toy.loss (a.gin:3) uses losses.toy_loss, "
        f"which needs it: bind it, {GAPS}"
    )


def test_required_of_a_root(write):
    with pytest.raises(UserError) as caught:
        Configuration.load([write("a.gin", "")]).resolve()
    assert str(caught.value).startswith("toy.model is not bound: every run needs it: bind it")


def test_gin_required_has_to_be_bound(base):
    with pytest.raises(UserError, match=r"^toy.steps is not bound: every run needs it"):
        Configuration.load([base], ["toy.steps = %gin.REQUIRED"]).resolve()


def test_a_macro_may_be_used_by_the_grid_alone(base):
    found = Configuration.load([base], ["n = 2", "toy_grid.name = 'x'", "toy_grid.seeds = %n"])
    found.resolve()
    assert found.read("toy_grid").seeds == 2


def test_unused_bindings_of_included_files_pass(write):
    write("b.gin", f"{toys.BASE}toy_uniform.low = 0.3\nunused = 3\n")
    Configuration.load([write("a.gin", "include 'b.gin'\n")]).resolve()


def test_what_a_later_source_replaces_may_leave_settings_unused(write):
    first = write("a.gin", f"{toys.BASE}toy_gap.std = 0.3\n")
    swap = "toy_loss.time_sampler = @toy_uniform()"
    low = "toy_uniform.low = 0.3"
    Configuration.load([first], [swap, low]).resolve()
    Configuration.load([first, write("b.gin", f"{swap}\n{low}\n")]).resolve()
    with pytest.raises(UserError, match=r"^--set: time_samplers.toy_uniform.low: the run does not"):
        Configuration.load([write("c.gin", f"{toys.BASE}{swap}\n")], [low, SWAP_BACK]).resolve()


def test_another_source_does_not_excuse_what_nothing_ever_used(write):
    path = write("a.gin", f"{toys.BASE}toy_uniform.low = 0.3\n")
    with pytest.raises(UserError, match=r"^a.gin:\d+: time_samplers.toy_uniform.low: the run does"):
        Configuration.load([path], ["toy_gap.std = 0.3"]).resolve()


def test_unused_bindings_can_be_left_to_the_caller(base):
    configuration = Configuration.load([base], ["toy_uniform.low = 0.3"])
    unused = configuration.resolve(refuse_unused=False).unused
    assert [str(key) for key in unused] == ["time_samplers.toy_uniform.low"]


def test_a_component_that_refers_to_itself(base):
    sets = ["toy_other.inner = @toy_other()", "toy.loss = @toy_other()"]
    with pytest.raises(UserError) as caught:
        Configuration.load([base], sets).resolve()
    assert str(caught.value) == (
        "--set: losses.toy_other refers to itself: losses.toy_other -> losses.toy_other"
    )


def test_a_default_that_gin_cannot_write(base, monkeypatch):
    from framework import registry
    from framework.settings import Setting

    settings = registry.component("toy_gap").settings
    monkeypatch.setitem(settings, "mean", Setting("mean", object, object))
    with pytest.raises(UserError, match=r"the default in .*toys: time_samplers.toy_gap.mean"):
        Configuration.load([base]).resolve()
