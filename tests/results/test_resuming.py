"""A run goes on after a kill, from a checkpoint or with a file lost as if undisturbed."""

import os
import warnings

import numpy as np
import pytest

from framework.results import DamagedRunError, DamagedRunWarning, RunWriter, read_run
from tests.results.results_support import make_config, record_step, write_run


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
    with pytest.warns(DamagedRunWarning, match="made anew from the journal"):
        RunWriter(tmp_path, config=make_config(), resume_step=0).close()
    assert read_run(tmp_path).scalars == {}


def test_resuming_where_nothing_was_recorded_says_so(tmp_path):
    with pytest.warns(DamagedRunWarning, match="no results up to step 100 are left"):
        RunWriter(tmp_path, config=make_config(), resume_step=100).close()
