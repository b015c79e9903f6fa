"""The end of what a run said."""

import os

from framework.runs import logs


def test_what_was_written_last_is_shown(tmp_path):
    for age, name in enumerate(("log.txt", "output.txt")):
        (tmp_path / name).write_text(f"{name}\n")
        os.utime(tmp_path / name, (age, age))
    assert logs.last_lines(tmp_path) == ["output.txt"]
    os.utime(tmp_path / "log.txt", (7, 7))
    assert logs.last_lines(tmp_path) == ["log.txt"]
    (tmp_path / "log.txt").write_text("\n")
    assert logs.last_lines(tmp_path) == ["output.txt"]
