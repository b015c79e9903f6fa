import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import UserError
from framework.configuration import Macro, Reference, parse_value, text
from framework.configuration.values import references

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
REFERENCES = st.builds(
    Reference,
    st.lists(NAMES, max_size=2).map("/".join),
    st.lists(NAMES, min_size=1, max_size=2).map(".".join),
    st.booleans(),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    REFERENCES,
    NAMES.map(Macro),
)
KEYS = st.one_of(st.integers(), st.text(), st.tuples(st.text(), st.integers()))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)


@given(VALUES)
def test_text_reads_back_as_the_same_value(value):
    assert text(parse_value(text(value))) == text(value)
    assert parse_value(text(value)) == value


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("1e-3", "0.001"),
        ("(1,)", "(1,)"),
        ("(1)", "1"),
        ("1e999", "1e999"),
        ("-1e999", "-1e999"),
        ("@a/b/losses.tvm()", "@a/b/losses.tvm()"),
        ("{'x': [@x, %y]}", "{'x': [@x, %y]}"),
    ],
)
def test_text_is_canonical(source, written):
    assert text(parse_value(source)) == written


@pytest.mark.parametrize("value", [math.nan, {1, 2}, object(), [math.nan]])
def test_what_gin_cannot_write_is_refused(value):
    with pytest.raises(ValueError, match="gin cannot write"):
        text(value)


def test_references_are_found_in_containers():
    value = parse_value("{'a': [@x, (@s/y(), 3)], @z: %m}")
    assert [str(r) for r in references(value)] == ["@x", "@s/y()", "@z"]


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_user_error(source):
    try:
        parse_value(source)
    except UserError as error:
        assert str(error)
