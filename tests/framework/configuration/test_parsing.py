import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework import UserError
from framework.configuration.parsing import ROOT, Assignment, Import, read_file


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        list(read_file(path))
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


def test_statements_carry_their_origin(write):
    path = write("a.gin", "import plug\n# note\nx.y = (1,\n 2)\ns/x:\n  z = 3\nmacro = @r()\n")
    found = list(read_file(path))
    assert [str(s.origin) for s in found] == ["a.gin:1", "a.gin:3", "a.gin:6", "a.gin:7"]
    assert isinstance(found[0], Import)
    keys = [(s.scope, s.selector, s.argument) for s in found[1:] if isinstance(s, Assignment)]
    assert keys == [("", "x", "y"), ("s", "x", "z"), ("", "macro", "")]


def test_include_looks_beside_the_including_file(write):
    write("deep/b.gin", "x.y = 1\n")
    path = write("deep/a.gin", "include 'b.gin'\nx.z = 2\n")
    first, second = read_file(path)
    assert (str(first.origin), first.origin.included) == ("deep/b.gin:1", True)
    assert not second.origin.included


@pytest.mark.parametrize("spelling", ["gin/digits.gin", "digits.gin"])
def test_include_looks_in_the_repository(write, spelling):
    found = list(read_file(write("a.gin", f"include '{spelling}'\n")))
    assert str(ROOT / "gin" / "digits.gin") in {s.origin.file for s in found}


def test_include_of_nothing_names_the_places(write):
    message = refusal(write("a.gin", "\ninclude 'b.gin'\n"))
    assert message == (
        f"a.gin:2: nothing to include at 'b.gin': tried b.gin, {ROOT}/b.gin, {ROOT}/gin/b.gin"
    )


def test_include_cycle(write):
    write("b.gin", "include 'a.gin'\n")
    message = refusal(write("a.gin", "include 'b.gin'\n"))
    assert message == (
        "a.gin: includes itself (a.gin -> b.gin -> a.gin): remove one of the includes"
    )


def test_a_file_may_be_included_twice(write):
    write("c.gin", "x.y = 1\n")
    write("b.gin", "include 'c.gin'\n")
    assert len(list(read_file(write("a.gin", "include 'b.gin'\ninclude 'c.gin'\n")))) == 2


def test_missing_file_names_those_beside_it(write):
    path = write("digits.gin", "")
    assert refusal(path.with_name("digit.gin")) == "digit.gin: no such file; ./ has digits.gin"


def test_a_folder_is_no_file(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_bytes_are_no_text(tmp_path):
    path = tmp_path / "a.gin"
    path.write_bytes(b"x.y = '\xff'")
    assert refusal(path) == f"{path}: cannot be read: it is not UTF-8 text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.y = 1\nx.z =\n", "a.gin:2: does not parse: Unable to parse value"),
        ("x.y = '''1\n", "a.gin:1: a bracket or quote is not closed"),
        ("x y\n", "a.gin:1: does not parse: expected '='"),
        ("x.y = 1 2\n", "a.gin:1: does not parse: Expected newline"),
        ("\nx.y = cpu\n", "a.gin:2: cannot read cpu: a text needs quotes"),
        ("x.y = true\n", "a.gin:1: cannot read true: a text needs quotes"),
        ("include x\n", "a.gin:1: cannot read x: a text needs quotes"),
        ("3.y = 1\n", "a.gin:1: does not parse: Unexpected token"),
        ("x:\n  y = 1\n z = 2\n", "a.gin:3: does not parse: unindent"),
        (
            "x.y = {\n  'a': {'b': 1},\n  'a': {'b': 2},\n}\n",
            "a.gin:3: does not parse: the key 'a' is there twice: remove one",
        ),
        ("x.y = [{1: 2, True: 3}]\n", "a.gin:1: does not parse: the key True is there twice"),
        ("x.y = {([],): 2}\n", "a.gin:1: does not parse: ([],) cannot be a key: write a text"),
    ],
)
def test_what_does_not_parse_names_its_line(write, text, message):
    assert refusal(write("a.gin", text)).startswith(message)


def test_one_key_may_stand_in_several_dictionaries(write):
    path = write("a.gin", "x.y = {'a': {'a': 1}, 'b': ({'a': 1}, {'a': 2})}\n")
    (found,) = read_file(path)
    assert isinstance(found, Assignment)
    assert found.value == {"a": {"a": 1}, "b": ({"a": 1}, {"a": 2})}


@given(text=st.text(alphabet="ab.=/@%()[]{},:'\"#\n \t1-\\", max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_parses_or_names_a_line(tmp_path, text):
    path = tmp_path / "a.gin"
    path.write_text(text)
    try:
        list(read_file(path))
    except UserError as error:
        assert str(error).startswith(f"{path}:")
