"""Waiting: as long as something runs or waits, whoever launched it."""

from types import SimpleNamespace

from framework.grid.manifest import CellRecord, Job, Submission
from framework.launching import waiting
from framework.launching.job_files import JOBS
from framework.runs import claims

from .test_states import CELL, beat, manifest_of

OTHER = CellRecord("b", 0, "e" * 64, "b/seed=0-eeeeeeee")


def submission(token, created, cell):
    return Submission("local", token, "here", created, [Job("1", [cell])], f"{JOBS}/{token}.lock")


def test_what_is_launched_meanwhile_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / JOBS).mkdir()
    first, second = submission("s", 1.0, CELL.directory), submission("t", 2.0, OTHER.directory)
    manifest = manifest_of([CELL, OTHER], [first])
    manifest.write(tmp_path)
    beat(tmp_path / OTHER.directory, state="failed", updated=1.0)
    locks = [claims.hold(tmp_path / each.lock) for each in (first, second)]
    locks[0].__enter__()

    def launch_again():
        manifest_of([CELL, OTHER], [first, second]).write(tmp_path)
        locks[1].__enter__()
        beat(tmp_path / CELL.directory, state="done")
        locks[0].__exit__(None, None, None)

    def end():
        beat(tmp_path / OTHER.directory, state="done")
        locks[1].__exit__(None, None, None)

    acts = [launch_again, end]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=lambda seconds: acts.pop(0)()))
    found = waiting.wait(tmp_path, manifest)
    assert [status.state for status in found] == ["done", "done"]
    assert acts == []
