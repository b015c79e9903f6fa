"""Many runs as one frame: its columns, filters, what is damaged, and files of schema 1."""

import json
import random
import shutil
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

from framework.results import (
    DamagedRunError,
    DamagedRunWarning,
    NewerSchemaError,
    RunWriter,
    find_runs,
    load,
    read_run,
)
from tests.results.results_support import evaluate, make_config, record_step, value_at, write_run


@pytest.fixture(scope="module")
def grids(tmp_path_factory):
    """Two grids that vary different things, one of them still running."""
    root = tmp_path_factory.mktemp("runs")
    for arm, decay in (("decay=0", 0), ("decay=0.99", 0.99)):
        for seed in range(2):
            varied = {"losses.tvm.target_decay": decay, "train.compile": decay == 0}
            identity = f"{arm}-{seed}"
            directory = root / "ema_target" / arm / f"seed={seed}-abcd"
            write_run(directory, arm=arm, seed=seed, varied=varied, identity=identity)
    varied = {"losses.tvm.time_sampler": "@time_samplers.gap", "model.shape": [1, 2], "value": 3}
    config = make_config(grid="gap", arm="gap", varied=varied)
    with RunWriter(root / "gap" / "gap" / "seed=0-abcd", config=config) as writer:
        for step in range(1, 6):
            record_step(writer, step)
        writer.flush()
        yield root


def test_runs_that_were_put_away_are_left_out(grids, tmp_path):
    run = find_runs(grids)[0]
    for name in ("arm/seed=0-abcd", ".former/arm/seed=0-abcd-1", ".code/arm/seed=0-abcd"):
        shutil.copytree(run, tmp_path / name)
    assert find_runs(tmp_path) == [tmp_path / "arm/seed=0-abcd"]
    assert len(find_runs(tmp_path / ".former")) == 1  # asked for by name


def test_one_tidy_frame_of_many_runs(grids):
    frame = load(grids)
    expected = "grid arm seed identity step kind metric nfe block w weights sampler time_grid "
    expected += "direction samples value time commit run"
    assert list(frame.columns[:19]) == expected.split()
    assert set(frame["commit"]) == {"c0ffee"}
    assert list(frame.columns[19:]) == [
        "losses.tvm.target_decay",
        "train.compile",
        "losses.tvm.time_sampler",
        "model.shape",
        "setting value",
    ]
    assert len(frame) == 4 * (20 * 3 + 8) + 5 * 3 + 2
    row = frame[(frame.arm == "decay=0.99") & (frame.seed == 1) & (frame.metric == "loss/mse")]
    assert row["step"].tolist() == list(range(1, 21))
    assert row["value"].tolist() == [value_at("loss/mse", step) for step in range(1, 21)]
    assert (row["losses.tvm.target_decay"] == 0.99).all()
    assert (row["kind"] == "scalar").all()
    assert row["nfe"].isna().all()
    evaluations = frame[frame.kind == "evaluation"]
    assert (evaluations["nfe"] == 1).all()
    assert evaluations["weights"].unique().tolist() == ["ema_0.999"]
    gap = frame[frame.grid == "gap"]
    assert gap["losses.tvm.target_decay"].isna().all()
    assert set(gap["model.shape"]) == {"[1, 2]"}
    assert set(gap["run"]) == {str(grids / "gap/gap/seed=0-abcd")}
    means = evaluations.groupby(["grid", "arm", "step"])["value"].mean()
    assert means["ema_target", "decay=0", 20] == value_at("fd", 20)


def test_one_run_and_several_folders(grids):
    run = grids / "ema_target" / "decay=0" / "seed=0-abcd"
    assert len(load(run)) == 68
    assert len(load([run, grids / "gap", run])) == 68 + 17
    assert len(find_runs(grids)) == 5
    bools = load(run)["train.compile"]
    assert bools.dtype == bool


@pytest.mark.parametrize(
    ("kinds", "metrics", "rows"),
    [
        (("evaluation",), None, 34),
        (("scalar",), None, 255),
        (None, ("loss/total",), 85),
        (None, ("loss/total", "fd"), 85 + 34),
        (None, ("loss", "nothing"), 0),
    ],
)
def test_filters(grids, kinds, metrics, rows):
    frame = load(grids, kinds=kinds, metrics=metrics)
    assert len(frame) == rows
    everything = load(grids)
    kept = everything[everything.kind.isin(kinds)] if kinds else everything
    kept = kept[kept.metric.isin(metrics)] if metrics else kept
    columns = ["run", "step", "value"]
    pd.testing.assert_frame_equal(
        frame[columns].reset_index(drop=True).astype({"run": str}),
        kept[columns].reset_index(drop=True).astype({"run": str}),
    )


def test_no_runs_and_no_folder(tmp_path):
    frame = load(tmp_path)
    assert frame.empty
    assert frame.columns[0] == "grid"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load(tmp_path / "nothing")


def test_a_damaged_run_is_named_and_left_out(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"seed={seed}", seed=seed)
    bad = tmp_path / "seed=1"
    (bad / "results.journal").unlink()
    content = (bad / "results.h5").read_bytes()
    (bad / "results.h5").write_bytes(content[: len(content) // 2])
    with pytest.warns(DamagedRunWarning, match=r"seed=1/results\.h5: damaged.*left out"):
        frame = load(tmp_path)
    assert set(frame["seed"]) == {0, 2}
    with pytest.raises(DamagedRunError, match=r"seed=1/results\.h5"):
        read_run(bad)


def test_a_damaged_file_is_read_from_its_journal(tmp_path):
    write_run(tmp_path)
    whole = load(tmp_path)
    (tmp_path / "results.h5").write_bytes(b"\x89HDF rubbish")
    with pytest.warns(DamagedRunWarning, match="its journal is read instead"):
        frame = load(tmp_path)
    pd.testing.assert_series_equal(frame["value"], whole["value"])


def test_flipped_bytes_never_give_wrong_numbers(tmp_path):
    rng = random.Random(0)
    run = write_run(tmp_path / "run")
    (run / "results.journal").unlink()
    whole = load(run)
    content = (run / "results.h5").read_bytes()
    outcomes = {"same": 0, "left out": 0}
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (run / "results.h5").write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = load(run)
        if caught:
            assert frame.empty
            assert str(run) in str(caught[0].message)
            outcomes["left out"] += 1
        else:
            for name in whole.columns:
                assert frame[name].astype(str).tolist() == whole[name].astype(str).tolist(), name
            outcomes["same"] += 1
    assert outcomes["left out"] > 25


def write_schema_1(path):
    """A file as the first version wrote it, by plain h5py. Do not change: such files exist."""
    points = np.dtype([("step", "<i8"), ("value", "<f8"), ("time", "<f8")])
    with h5py.File(path, "w") as file:
        attributes = file.create_group("config").attrs
        attributes["schema_version"] = 1
        texts = {"gin_text": "train.steps = 2\n", "identity": "abc", "grid": "old", "arm": "a"}
        texts |= {"git_commit": "c0ffee", "git_diff": "", "host": "h", "device": "cpu"}
        for name, value in {**texts, "command": "python launch/train.py"}.items():
            attributes[name] = value
        attributes["seed"] = 3
        for name in ("resolved", "versions", "sources"):
            attributes[name] = json.dumps({})
        attributes["varied"] = json.dumps({"train.batch_size": 64})
        file["scalars/loss/total"] = np.array([(1, 0.5, 10.0), (2, np.nan, 11.0)], points)
        row = (2, b"fd", 1.5, b"lower", 4, 1.5, b"ema", b"n_step", b"uniform", 0, 1000, 12.0)
        kinds = [("step", "<i8"), ("metric", h5py.string_dtype("utf-8", 2)), ("value", "<f8")]
        kinds += [("direction", h5py.string_dtype("utf-8", 5)), ("nfe", "<i4"), ("w", "<f8")]
        kinds += [(n, h5py.string_dtype("utf-8", 8)) for n in ("weights", "sampler", "time_grid")]
        kinds += [("block", "<i4"), ("samples", "<i8"), ("time", "<f8")]
        file["evaluations"] = np.array([row], np.dtype(kinds))
        images = file.create_dataset("samples/2/nfe=4", data=np.full((1, 2, 2, 1), 9, np.uint8))
        images.attrs["labels"] = [5]
        file["flight_recorder/step"] = [1.0, 2.0]
        file["flight_recorder/loss"] = [0.5, np.nan]


def test_files_of_schema_1_stay_readable(tmp_path):
    write_schema_1(tmp_path / "results.h5")
    frame = load(tmp_path)
    assert frame["metric"].tolist() == ["loss/total", "loss/total", "fd"]
    np.testing.assert_array_equal(frame["value"], [0.5, np.nan, 1.5])
    assert frame["train.batch_size"].tolist() == [64, 64, 64]
    results = read_run(tmp_path)
    assert results.config.gin_text == "train.steps = 2\n"
    assert results.samples[2, 4].images.tolist() == [[[[9], [9]], [[9], [9]]]]
    assert results.flight_recorder["step"].tolist() == [1, 2]
    config = make_config(grid="old", arm="a", seed=3)
    with RunWriter(tmp_path, config=config, resume_step=1) as writer:
        writer.scalar("loss/total", 2, 0.25)
        evaluate(writer, 2)
    results = read_run(tmp_path)
    assert results.scalars["loss/total"]["value"].tolist() == [0.5, 0.25]
    assert len(results.evaluations) == 1
    assert results.flight_recorder["step"].tolist() == [1]


def test_a_column_that_an_old_file_lacks_takes_its_default(tmp_path):
    write_schema_1(tmp_path / "results.h5")
    with h5py.File(tmp_path / "results.h5", "r+") as file:
        table = file["evaluations"][()]
        del file["evaluations"]
        file["evaluations"] = table[["step", "metric", "value"]]
    evaluation = load(tmp_path, kinds=["evaluation"]).iloc[0]
    assert evaluation["value"] == 1.5
    assert evaluation["weights"] == ""
    assert pd.isna(evaluation["nfe"])
    assert read_run(tmp_path).evaluations["direction"].tolist() == [""]


def test_a_file_of_a_later_schema_is_named_and_left_out(tmp_path):
    write_run(tmp_path)
    with h5py.File(tmp_path / "results.h5", "r+") as file:
        file["config"].attrs["schema_version"] = 99
    with pytest.warns(DamagedRunWarning, match="written with schema 99.*update it; left out"):
        assert load(tmp_path).empty
    with pytest.raises(NewerSchemaError):
        read_run(tmp_path)
    with pytest.raises(NewerSchemaError):
        RunWriter(tmp_path, config=make_config(), resume_step=3)


def test_a_copied_run_is_read_where_it_lies(tmp_path):
    write_run(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert set(load(tmp_path / "b")["run"]) == {str(tmp_path / "b")}


def test_what_is_imported_when_used_is_listed_before():
    listed = "import framework.results; print(*dir(framework.results))"
    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True)
    assert {"find_runs", "load", "read_run"} <= set(found.stdout.split())
