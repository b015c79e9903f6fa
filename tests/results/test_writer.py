"""What is recorded is found in results.h5 by plain h5py, and by readers while it grows."""

import json
import math
import os

import h5py
import numpy as np
import pytest

from framework.results import (
    RunWriter,
    SampleKey,
    StorageError,
    read_run,
)
from tests.results.results_support import evaluate, make_config, record_step, value_at


def test_plain_h5py_reads_everything(tmp_path):
    config = make_config(gin_text="é" * 100_000, git_diff="+" * 1_000_000)
    with RunWriter(tmp_path, config=config) as writer:
        for step in range(1, 21):
            record_step(writer, step)
        writer.flight_record({"step": 20, "loss": 1.0, "t": np.arange(3), "module": "blocks.1"})
    with h5py.File(tmp_path / "results.h5") as file:
        attributes = file["config"].attrs
        assert attributes["schema_version"] == 1
        assert attributes["gin_text"] == config.gin_text
        assert attributes["git_diff"] == config.git_diff
        assert json.loads(attributes["resolved"]) == config.resolved
        assert (attributes["grid"], attributes["seed"]) == ("ema_target", 0)
        points = file["scalars/loss/total"]
        np.testing.assert_array_equal(points["step"], np.arange(1, 21))
        assert points["value"][3] == value_at("loss/total", 4)
        assert file["scalars"].attrs["column time"].startswith("Unix seconds")
        table = file["evaluations"][()]
        expected = "step metric value direction nfe w weights sampler time_grid block samples time"
        assert table.dtype.names == tuple(expected.split())
        assert len(table) == 8
        assert table["metric"][0].decode() == "fd"
        assert file["evaluations"].attrs["column nfe"]
        images = file["samples/20/nfe=1"]
        assert (images.shape, images.dtype) == ((4, 3, 2, 3), np.uint8)
        assert (images[()] == 20).all()
        assert images.attrs["labels"].tolist() == [0, 1, 2, 3]
        recorder = file["flight_recorder"]
        assert recorder["t"][()].tolist() == [[0, 1, 2]]
        assert recorder["module"].asstr()[0] == "blocks.1"


def test_nan_and_infinities_are_kept_as_they_are(tmp_path):
    with RunWriter(tmp_path, config=make_config()) as writer:
        for step, value in enumerate([math.nan, math.inf, -math.inf, 0.1 + 0.2]):
            writer.scalar("loss", step, value)
        evaluate(writer, 3, math.nan, w=math.nan)
        evaluate(writer, 4, -math.inf)
        writer.flush()
        flushed = read_run(tmp_path)
    for results in (flushed, read_run(tmp_path)):
        expected = [math.nan, math.inf, -math.inf, 0.1 + 0.2]
        np.testing.assert_array_equal(results.scalars["loss"]["value"], expected)
        np.testing.assert_array_equal(results.evaluations["value"], [math.nan, -math.inf])


def test_readers_see_a_growing_run(tmp_path):
    with RunWriter(
        tmp_path, config=make_config(), flush_seconds=1e9, publish_seconds=1e9
    ) as writer:
        seen = []
        for step in range(1, 31):
            record_step(writer, step)
            if step % 10 == 0:
                writer.flush()
                seen.append(len(read_run(tmp_path).scalars["lr"]))
            if step == 20:
                writer.publish()
        assert seen == [10, 20, 30]
    assert len(read_run(tmp_path).scalars["lr"]) == 30


def test_values_are_flushed_and_published_by_themselves(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("framework.results.writer.time.monotonic", lambda: clock[0])
    with RunWriter(tmp_path, config=make_config(), flush_seconds=5, publish_seconds=60) as writer:
        for step in range(100):
            clock[0] += 1.0
            writer.scalar("lr", step, 1.0)
            if step == 10:
                assert len(read_run(tmp_path).scalars["lr"]) == 10
        with h5py.File(tmp_path / "results.h5") as file:
            assert len(file["scalars/lr"]) == 60


def test_a_value_recorded_again_replaces_the_one_before(tmp_path):
    with RunWriter(tmp_path, config=make_config()) as writer:
        for value in (1.0, 2.0):
            writer.scalar("loss", 5, value)
            evaluate(writer, 5, value, w=math.nan)
            writer.samples(5, 1, np.full((1, 2, 2, 1), value, np.uint8), None)
            writer.publish()
    results = read_run(tmp_path)
    assert results.scalars["loss"]["value"].tolist() == [2.0]
    assert results.evaluations["value"].tolist() == [2.0]
    samples = results.samples[SampleKey(5, 1)]
    assert (samples.images == 2).all()
    assert samples.labels.tolist() == [-1]


def test_long_tables_and_late_steps(tmp_path):
    count = 10_000
    with RunWriter(tmp_path, config=make_config()) as writer:
        for step in range(count):
            writer.scalar("loss", step, step)
        for step in range(1_000):
            evaluate(writer, step, step)
        writer.publish()
        writer.scalar("loss", count, count)
    with h5py.File(tmp_path / "results.h5") as file:
        np.testing.assert_array_equal(file["scalars/loss"]["value"], np.arange(count + 1))
        assert len(file["evaluations"]) == 1_000


def test_the_flight_recorder_keeps_the_last_steps(tmp_path):
    with RunWriter(tmp_path, config=make_config()) as writer:
        for step in range(100):
            times = np.linspace(0, 1, 3 if step < 99 else 2)
            record = {
                "step": step,
                "loss": 1.0 / (step - 99) if step < 99 else math.nan,
                "t": times,
            }
            writer.flight_record(
                record if step < 99 else {**record, "module": "blocks.0.attention"}
            )
        writer.flush()
        flushed = read_run(tmp_path).flight_recorder
    for recorder in (flushed, read_run(tmp_path).flight_recorder):
        np.testing.assert_array_equal(recorder["step"], np.arange(36, 100))
        assert math.isnan(recorder["loss"][-1])
        assert recorder["t"].shape == (64, 3)
        assert recorder["t"][-1, :2].tolist() == [0, 1]
        assert recorder["module"].tolist() == [""] * 63 + ["blocks.0.attention"]
    (tmp_path / "results.journal").unlink()
    with RunWriter(tmp_path, config=make_config(), resume_step=97):
        pass
    recorder = read_run(tmp_path).flight_recorder
    assert recorder["step"][-1] == 97
    assert "module" in recorder


def test_bad_calls_say_what_to_give(tmp_path):
    with RunWriter(tmp_path, config=make_config()) as writer:
        writer.scalar("loss/total", 1, 1.0)
        for tag in ("loss", "loss/total/sum", "", "/loss", "loss//total", "../loss"):
            with pytest.raises(ValueError, match="scalar name"):
                writer.scalar(tag, 1, 1.0)
        with pytest.raises(ValueError, match="'lower' or 'higher'"):
            evaluate(writer, 1, direction="up")
        with pytest.raises(ValueError, match="give uint8"):
            writer.samples(1, 1, np.zeros((1, 2, 2, 3)), [0])
        with pytest.raises(ValueError, match="labels"):
            writer.samples(1, 1, np.zeros((2, 2, 2, 3), np.uint8), [0])
        with pytest.raises(ValueError, match="'step'"):
            writer.flight_record({"loss": 1.0})
        with pytest.raises(ValueError, match="at most one axis"):
            writer.flight_record({"step": 1, "t": np.zeros((2, 2))})
        with pytest.raises(ValueError, match="could not convert"):
            writer.scalar("lr", 1, "high")
    with (
        pytest.raises(ValueError, match="scalar name"),
        RunWriter(tmp_path, config=make_config()) as writer,
    ):
        writer.scalar("loss", 2, 1.0)
    with pytest.raises(ValueError, match="resume_step"):
        RunWriter(tmp_path, config=make_config(), resume_step=-1)
    assert read_run(tmp_path).scalars["loss/total"]["value"].tolist() == [1.0]


def test_two_processes_cannot_write_one_run(tmp_path):
    with RunWriter(tmp_path, config=make_config()) as writer:
        child = os.fork()
        if child == 0:
            try:
                RunWriter(tmp_path, config=make_config())
            except StorageError as error:
                os._exit(7 if "another process is writing" in str(error) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        record_step(writer, 1)
    assert len(read_run(tmp_path).scalars["lr"]) == 1


def test_an_error_in_the_run_still_publishes(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path, config=make_config()) as writer:
        record_step(writer, 1)
        1 / 0  # noqa: B018
    (tmp_path / "results.journal").unlink()
    assert len(read_run(tmp_path).scalars["lr"]) == 1
