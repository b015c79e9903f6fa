"""The heartbeat: what is written is read, and what a crash left of it stops nobody."""

import os
from types import SimpleNamespace

import pytest

from framework.configuration import Configuration
from framework.runs import heartbeat
from framework.runs.heartbeat import Heartbeat, Pulse, State, read
from framework.training import folder, run
from tests.framework.training.small import DIGITS, SIZE

SHORT = (
    *("train.batch_size = 8", "train.steps = 2", "train.device = 'cpu'"),
    *("evaluation.metrics = ()", "evaluation.nfe = ()"),
)


def test_what_is_written_is_read(tmp_path):
    Pulse(tmp_path, Heartbeat(state=State.DIVERGED, step=7, seconds=1.5)).beat()
    found = read(tmp_path)
    assert (found.state, found.step, found.seconds) == (State.DIVERGED, 7, 1.5)
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"state": null}', '{"state": "x"}'])
def test_one_that_cannot_be_read_is_none(tmp_path, content):
    assert read(tmp_path) is None
    (tmp_path / "heartbeat.json").write_text(content)
    assert read(tmp_path) is None


def test_only_forced_beats_wait_for_the_disk(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(os, "fsync", waited.append)
    pulse = Pulse(tmp_path, Heartbeat())
    pulse.beat()
    assert waited == []
    pulse.beat(force=True)
    assert len(waited) == 1


def test_it_goes_on_where_the_clock_is_set_back(tmp_path, monkeypatch):
    clock = SimpleNamespace(time=lambda: 7200.0, monotonic=lambda: 0.0)
    monkeypatch.setattr(heartbeat, "time", clock)
    pulse = Pulse(tmp_path, Heartbeat())
    pulse.beat()
    clock.time, clock.monotonic = lambda: 3600.0, lambda: Pulse.INTERVAL_SECONDS
    pulse.now.step = 7
    pulse.beat()
    assert (read(tmp_path).step, read(tmp_path).updated) == (7, 3600.0)


def test_a_run_goes_on_whose_heartbeat_a_crash_emptied(tmp_path):
    configured = Configuration.load([DIGITS], [*SIZE, *SHORT])
    folder.prepare(tmp_path, configured.with_bindings({"train.steps": 1}).resolve())
    assert run(tmp_path) is State.DONE
    (tmp_path / "heartbeat.json").write_bytes(b"")
    folder.prepare(tmp_path, configured.resolve())
    assert run(tmp_path) is State.DONE
    assert "going on from step 1" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("reached", "kept"), [(4, 250.0), (1, 1000.0)])
def test_seconds_of_steps_that_are_repeated_do_not_count(tmp_path, reached, kept):
    configured = Configuration.load([DIGITS], [*SIZE, *SHORT])
    folder.prepare(tmp_path, configured.with_bindings({"train.steps": 1}).resolve())
    run(tmp_path)
    Pulse(tmp_path, Heartbeat(state=State.RUNNING, step=reached, seconds=1000.0)).beat()
    folder.prepare(tmp_path, configured.resolve())
    run(tmp_path)
    found = read(tmp_path)
    assert found.step == 2 and kept < found.seconds < kept + 100
