"""The manifest survives reading, crashes and edits of the gin file."""

import json
from dataclasses import asdict

import pytest

from framework.errors import UserError
from framework.grid.manifest import Job, Manifest, Submission

DECAY = "grid.axes = {'losses.tvm.target_decay': [0.0, 0.9]}"


def test_it_reads_what_it_wrote(plan_of, tmp_path):
    manifest = plan_of(DECAY, "grid.tune = {'train.batch_size': [8, 16]}").manifest("python x")
    manifest.submissions.append(Submission("slurm", "t", "host", 1.0, [Job("1_0", ["a"])]))
    manifest.write(tmp_path)
    assert asdict(Manifest.read(tmp_path)) == asdict(manifest)
    values = json.loads((tmp_path / "grid.json").read_text())
    assert values["schema"] == 1
    assert values["axes"] == {"losses.tvm.target_decay": ["0.0", "0.9"]}
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


def test_removed_arms_are_former_and_come_back(plan_of):
    both = plan_of(DECAY).manifest("")
    one = plan_of("grid.axes = {'losses.tvm.target_decay': [0.9]}").manifest("").continuing(both)
    gone = [cell for cell in both.cells if cell not in one.cells]
    assert gone
    assert one.former == gone
    again = plan_of(DECAY).manifest("").continuing(one)
    assert not [cell for cell in again.former if cell in again.cells]
    assert {c.directory for c in again.former} == {
        c.directory for c in one.cells if c not in both.cells
    }


def test_short_names_are_spelt_in_full_as_those_of_arms_are(plan_of):
    axes = "grid.axes = {'tvm.target_decay': [0.0, 0.9]}"
    zips = "grid.zips = {'pace': {'adamw.lr': [0.1, 0.2], 'train.steps': [8, 9]}}"
    manifest = plan_of(axes, zips, "grid.equivalent = ['tvm.target_decay']").manifest("")
    assert manifest.axes == {"losses.tvm.target_decay": ["0.0", "0.9"]}
    assert manifest.zips == {
        "pace": {"optimizers.adamw.lr": ["0.1", "0.2"], "train.steps": ["8", "9"]}
    }
    assert manifest.equivalent == ["losses.tvm.target_decay"]
    assert set(manifest.axes) <= set(manifest.arms[0]["settings"])


def test_a_zip_that_is_equivalent_counts_by_its_bindings(plan_of):
    fast = "{'adamw.lr': [0.1, 0.2], 'train.steps': [8, 9]}"
    zips = f"grid.zips = {{'fast': {fast}}}"
    manifest = plan_of(DECAY, zips, "grid.equivalent = ['fast']").manifest("")
    assert manifest.equivalent == ["optimizers.adamw.lr", "train.steps"]
    assert set(manifest.equivalent) <= set(manifest.arms[-1]["settings"])


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 99}', "{"])
def test_what_is_no_manifest_is_said_so(tmp_path, text):
    (tmp_path / "grid.json").write_text(text)
    with pytest.raises(UserError, match=r"grid\.json"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": 1, "cells": [3]}'])
def test_a_file_that_is_no_manifest_is_named(tmp_path, content):
    (tmp_path / "grid.json").write_text(content)
    with pytest.raises(UserError, match=r"grid\.json"):
        Manifest.read(tmp_path)
