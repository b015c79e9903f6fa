import pytest

from framework import UserError
from framework.configuration import Configuration, Reference
from tests.framework.configuration import toys


def test_later_bindings_win_and_names_are_completed(write, base):
    path = write("a.gin", "include 'base.gin'\ntoy_loss.target_decay = 0.5\ntoy.steps = 7\n")
    configuration = Configuration.load([path], ["losses.toy_loss.target_decay = 0.25"])
    assert configuration.get("losses.toy_loss.target_decay") == 0.25
    assert configuration.get("toy_loss.target_decay") == 0.25
    assert configuration.get("toy.steps") == 7
    assert configuration.get("toy.rate") is None
    assert configuration.get("toy.rate", 3.0) == 3.0


def test_a_binding_that_an_include_below_it_replaces(write, base):
    text = f"toy.steps = 7\ninclude '{write('b.gin', 'toy.steps = 8')}'\n"
    with pytest.raises(UserError, match=r"^a\.gin:1: toy\.steps is .* \(b\.gin:1\): write the inc"):
        Configuration.load([base, write("a.gin", text)])
    turned = "".join(reversed(text.splitlines(keepends=True)))
    assert Configuration.load([base, write("a.gin", turned)]).get("toy.steps") == 7


def test_get_gives_references_as_data_and_expands_macros(write):
    path = write("a.gin", "std = 2.0\ngap = @s/toy_gap()\ntoy_gap.std = %std\ntoy.loss = %gap\n")
    configuration = Configuration.load([path])
    assert configuration.get("toy_gap.std") == 2.0
    assert configuration.get("toy.loss") == Reference("s", "time_samplers.toy_gap", True)


def test_with_bindings_copies(base):
    configuration = Configuration.load([base])
    other = configuration.with_bindings({"toy_gap.std": 3.0, "s/toy_gap.std": 4.0}, "grid.axes")
    assert configuration.get("toy_gap.std") is None
    assert (other.get("toy_gap.std"), other.get("s/toy_gap.std")) == (3.0, 4.0)
    origins = {str(b.origin) for k, b in other.bindings.items() if k.argument == "std"}
    assert origins == {"grid.axes"}


def test_with_bindings_may_bind_a_macro_of_the_file(write):
    path = write("a.gin", f"{toys.BASE}\nspread = 2.0\ntoy_gap.std = %spread\n")
    configuration = Configuration.load([path]).with_bindings({"spread": 3.0})
    assert configuration.resolve().settings["time_samplers.toy_gap.std"] == 3.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "grid.axes: 'nothing' names nothing: write component.setting"),
        ("losses.tov.decay", "grid.axes: losses.tov.decay: no loss is called 'tov'"),
        ("losses.toy_loss", "grid.axes: losses.toy_loss is a component: name one of its settings"),
        ("toy.stepz", "grid.axes: toy.stepz: toy has no setting 'stepz'; did you mean steps?"),
        ("", "grid.axes: '' is not the name of a setting"),
        ("toy.", "grid.axes: 'toy.' names nothing"),
    ],
)
def test_an_axis_that_names_nothing(base, name, message):
    with pytest.raises(UserError) as caught:
        Configuration.load([base]).with_bindings({name: 1}, "grid.axes")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_without(write):
    path = write("a.gin", "toy_grid.name = 'a'\ntoy.steps = 3\ntoy.device = 'x'\n")
    configuration = Configuration.load([path])
    left = configuration.without(["toy_grid.", "toy.steps"])
    assert [str(key) for key in left.bindings] == ["toy.device"]


def test_read_gives_a_root_of_plain_data(write):
    text = "toy_grid.name = 'a'\ndecay = 0.5\ntoy_grid.axes = {'x': [@toy_gap(), %decay]}\n"
    grid = Configuration.load([write("a.gin", text)]).read("toy_grid")
    assert grid == toys.ToyGrid("a", {"x": [Reference("", "time_samplers.toy_gap", True), 0.5]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "toy_grid.name is not bound: give it a value in the gin file"),
        ("toy_grid.name = 3", "a.gin:1: toy_grid.name = 3: should be a valid string"),
        ("toy_grid.name = ''", "toy_grid: name is empty"),
        ("toy_grid.naem = ''", "a.gin:1: toy_grid.naem: toy_grid has no setting 'naem'; did you"),
    ],
)
def test_read_refuses(write, text, message):
    with pytest.raises(UserError) as caught:
        Configuration.load([write("a.gin", text)]).read("toy_grid")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = %b\nb = (%a,)\n", "a.gin:2: the macro 'b' refers to itself"),
        ("decay = 1\nb = %decya\n", "a.gin:2: %decya is not defined; did you mean decay?"),
        ("b = %c\n", "a.gin:1: %c is not defined: write c = ... to define it"),
    ],
)
def test_macros_that_lead_nowhere(write, text, message):
    path = write("a.gin", f"{text}{toys.BASE}toy.rate = %b\n")
    with pytest.raises(UserError) as caught:
        Configuration.load([path]).resolve()
    assert str(caught.value) == message


@pytest.mark.parametrize("binding", ["include 'a.gin'", "import x", "toy.steps = 1\ntoy.rate = 2"])
def test_set_takes_one_binding(base, binding):
    with pytest.raises(UserError, match=r"write one binding, such as 'train.steps = 100'"):
        Configuration.load([base], [binding])
