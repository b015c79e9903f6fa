"""Nothing that was flushed is lost: not to kill -9 at any moment, nor to a full disk."""

import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from framework.results import RunWriter, StorageError, load, read_run
from tests.results import kills
from tests.results.kills import assert_whole_up_to, in_child, kill_after
from tests.results.results_support import make_config, record_step, value_at

KILLS = 110
MEGABYTE = 2**20


@pytest.fixture
def fast_path(tmp_path):
    """A folder in memory where there is one: a kill is the same there, and fsync costs nothing."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_a_hundred_kills_lose_nothing(fast_path):
    run = fast_path / "run"
    met = kills.rehearse(run, KILLS)
    assert met.kills == KILLS and met.opened > KILLS / 2
    assert met.furthest > 40
    last = kills.START_OVER + 10
    with RunWriter(run, config=make_config(), resume_step=met.resumed) as writer:
        for step in range(met.resumed + 1, last + 1):
            record_step(writer, step)
    assert assert_whole_up_to(run, last) == last
    evaluations = read_run(run).evaluations
    assert evaluations["step"].tolist() == np.repeat(np.arange(5, last + 1, 5), 2).tolist()
    assert sorted(read_run(run).samples) == [(step, 1) for step in range(10, last + 1, 10)]


def test_a_killed_tensorboard_writer_leaves_no_doubles(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rng = random.Random(0)
    resumed = 0

    def train(report):
        config = make_config()
        with RunWriter(tmp_path, config=config, resume_step=resumed, tensorboard=True) as writer:
            report(resumed)
            for step in range(resumed + 1, 10**9):
                record_step(writer, step)
                writer.flush()
                report(step)

    for _ in range(8):
        child, pipe = in_child(train)
        flushed = kill_after(child, pipe, rng.randint(2, 5), rng.uniform(0, 0.003))
        resumed = max(1, flushed - rng.randint(0, 3))
    with RunWriter(tmp_path, config=make_config(), resume_step=resumed, tensorboard=True) as writer:
        for step in range(resumed + 1, resumed + 10):
            record_step(writer, step)
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"scalars": 0, "tensors": 0}).Reload()
    points = {event.step: event.value for event in events.Scalars("lr")}
    assert [event.step for event in events.Scalars("lr")] == list(range(1, resumed + 10))
    assert points[2] == pytest.approx(value_at("lr", 2))


def write_until_full(directory, report):
    """Records ever more; ends with status 0 if that fails as it should."""
    writer = RunWriter(directory, config=make_config())
    rng = np.random.default_rng(0)
    try:
        for step in range(1, 10_000):
            record_step(writer, step)
            writer.samples(step, 2, rng.integers(0, 255, (4, 32, 32, 3), np.uint8), None)
            writer.publish() if step % 5 == 0 else writer.flush()
            report(step)
    except StorageError as error:
        for _ in range(3):
            with pytest.raises(StorageError):
                writer.publish()  # it stays an error, and the process lives
        assert str(directory) in str(error)
        assert any(hint in str(error) for hint in ("free some space", "ulimit -f"))
        return
    raise AssertionError("the disk never filled up")


def last_report(child, pipe):
    step = 0
    while data := os.read(pipe, 8):
        step = int.from_bytes(data, "little")
    os.close(pipe)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return step


def assert_survives_a_full_disk(directory, limit):
    def work(report):
        limit()
        write_until_full(directory, report)

    flushed = last_report(*in_child(work))
    assert flushed > 10
    with h5py.File(directory / "results.h5") as file:
        steps = file["scalars/lr"]["step"]
        np.testing.assert_array_equal(steps, np.arange(1, len(steps) + 1))
        assert len(steps) >= 5
    assert list(directory.glob("*.writing")) == []
    assert_whole_up_to(directory, flushed)
    assert not load(directory).empty


def test_a_limited_file_size_is_an_error_that_harms_nothing(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE // 2, resource.RLIM_INFINITY))

    assert_survives_a_full_disk(tmp_path, limit)
    with RunWriter(tmp_path, config=make_config(), resume_step=10) as writer:
        record_step(writer, 11)
    assert assert_whole_up_to(tmp_path, 11) == 11


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs to mount a tmpfs")
def test_a_full_disk_is_an_error_that_harms_nothing(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        assert_survives_a_full_disk(tmp_path, lambda: None)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot make .*file/run"):
        RunWriter(tmp_path / "file/run", config=make_config())
