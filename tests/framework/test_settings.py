"""What is said of values that do not fit a setting."""

from framework.settings import REQUIRED, PositiveInt, Setting


def test_a_number_that_should_be_a_tuple_is_shown_as_one():
    counts = Setting("nfe", tuple[PositiveInt, ...] | None, REQUIRED)
    assert counts.problem(1) == "should be a tuple, such as (1,)"
    assert counts.problem("a") == "should be a valid tuple"
    assert counts.problem((1,)) is None
