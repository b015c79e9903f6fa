"""What holds for every test."""

from collections.abc import Iterator

import pytest

from framework import plugins

plugins.load_installed()  # once, before a test puts a registry of its own in place of the real one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="MARKER",
        help="fail tests with this marker that would be skipped, such as slurm",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    required = [m for m in item.config.getoption("--require") if item.get_closest_marker(m)]
    if report.skipped and required:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but --require {required[0]} was given"
    return report
