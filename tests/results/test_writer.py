"""What is recorded is found in results.h5 by plain h5py, and stays as it was when resumed."""

import json
import math
import os
import warnings

import h5py
import numpy as np
import pytest
from results_support import evaluate, make_config, record_step, value_at, write_run

from framework.results import (
    DamagedRunError,
    DamagedRunWarning,
    RunWriter,
    SampleKey,
    StorageError,
    read_run,
)


def values_of(run):
    """Everything of a run but the times of recording."""
    results = read_run(run)
    scalars = {tag: points[["step", "value"]].to_numpy() for tag, points in results.scalars.items()}
    evaluations = results.evaluations.drop(columns="time").to_dict("records")
    images = {key: samples.images for key, samples in results.samples.items()}
    return scalars, evaluations, images


def assert_same_values(one, other):
    (scalars, evaluations, images), (scalars2, evaluations2, images2) = map(values_of, (one, other))
    assert set(scalars) == set(scalars2)
    for tag in scalars:
        np.testing.assert_array_equal(scalars[tag], scalars2[tag], err_msg=tag)
    assert evaluations == evaluations2
    assert set(images) == set(images2)
    for key in images:
        np.testing.assert_array_equal(images[key], images2[key])


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


@pytest.mark.parametrize("resume_step", [0, 7, 10, 20, None])
@pytest.mark.parametrize("published", [True, False])
def test_a_resumed_run_is_an_undisturbed_one(tmp_path, resume_step, published):
    whole = write_run(tmp_path / "whole", steps=30)
    part = tmp_path / "part"
    writer = RunWriter(part, config=make_config(), flush_seconds=1e9, publish_seconds=1e9)
    for step in range(1, 21):
        record_step(writer, step)
        if step == 14 and published:
            writer.publish()
    writer.flush()
    writer._journal.close()  # as a kill would
    with RunWriter(part, config=make_config(), resume_step=resume_step) as writer:
        if published and resume_step == 7:
            assert len(read_run(part).scalars["lr"]) == 7
        for step in range((20 if resume_step is None else resume_step) + 1, 31):
            record_step(writer, step)
    assert_same_values(whole, part)
    (part / "results.journal").unlink()
    assert_same_values(whole, part)


def test_the_journal_alone_holds_the_run(tmp_path):
    whole = write_run(tmp_path / "whole", steps=20)
    part = write_run(tmp_path / "part", steps=20)
    (part / "results.h5").unlink()
    assert_same_values(whole, part)


@pytest.mark.parametrize("lost", ["results.journal", "results.h5"])
@pytest.mark.parametrize("how", ["gone", "empty", "rubbish"])
def test_a_run_goes_on_when_one_of_its_files_is_lost(tmp_path, lost, how):
    whole = write_run(tmp_path / "whole", steps=20)
    part = write_run(tmp_path / "part", steps=15)
    if how == "gone":
        (part / lost).unlink()
    else:
        (part / lost).write_bytes(b"" if how == "empty" else os.urandom(5000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedRunWarning)
        with RunWriter(part, config=make_config(), resume_step=12) as writer:
            for step in range(13, 21):
                record_step(writer, step)
    assert_same_values(whole, part)
    (part / "results.h5").unlink()
    assert_same_values(whole, part)


def test_a_journal_shorter_than_what_was_published_is_made_anew(tmp_path):
    whole = write_run(tmp_path / "whole", steps=20)
    part = write_run(tmp_path / "part", steps=15)
    content = (part / "results.journal").read_bytes()
    (part / "results.journal").write_bytes(content[: len(content) // 2])
    with (
        pytest.warns(DamagedRunWarning, match=r"results\.journal: damaged \(cut short\)"),
        RunWriter(part, config=make_config()) as writer,
    ):
        for step in range(16, 21):
            record_step(writer, step)
    assert_same_values(whole, part)
    (part / "results.h5").unlink()
    assert_same_values(whole, part)


def test_a_file_damaged_while_the_run_goes_on_is_made_anew(tmp_path):
    whole = write_run(tmp_path / "whole", steps=20)
    with RunWriter(tmp_path / "part", config=make_config()) as writer:
        for step in range(1, 21):
            record_step(writer, step)
        writer.publish()
        (tmp_path / "part/results.h5").write_bytes(b"rubbish")
        with pytest.warns(DamagedRunWarning, match="made anew from the journal"):
            writer.publish()
    assert_same_values(whole, tmp_path / "part")


def test_without_either_file_the_run_says_what_to_do(tmp_path):
    write_run(tmp_path)
    (tmp_path / "results.journal").unlink()
    (tmp_path / "results.h5").write_bytes(b"rubbish")
    with pytest.raises(DamagedRunError, match=r"results\.h5: damaged.*start the run over"):
        RunWriter(tmp_path, config=make_config(), resume_step=5)
    RunWriter(tmp_path, config=make_config(), resume_step=0).close()
    assert read_run(tmp_path).scalars == {}


def test_resuming_where_nothing_was_recorded_says_so(tmp_path):
    with pytest.warns(DamagedRunWarning, match="no results up to step 100 are left"):
        RunWriter(tmp_path, config=make_config(), resume_step=100).close()


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
