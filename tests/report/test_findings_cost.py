"""What runs cost, in words."""

import json

from framework.grid.manifest import Job, Submission
from framework.report.findings_cost import NOT_RUN, cost

from .stored import manifest
from .synthetic import Truth, build

EFFECTS = {"base": 0.0, "other": 1.0}


def folder_with(tmp_path, launches, ended):
    """Write a manifest with launches {time: cells}, and when each cell ended."""
    made = [
        Submission("local", "", "host", created, [Job("", cells)])
        for created, cells in launches.items()
    ]
    manifest(submissions=made).write(tmp_path)
    for cell, updated in ended.items():
        (tmp_path / cell).mkdir()
        (tmp_path / cell / "heartbeat.json").write_text(json.dumps({"updated": updated}))
    return tmp_path


def test_a_run_belongs_to_the_last_launch_that_started_it(tmp_path):
    launches = {1000.0: ["a", "b"], 9000.0: ["b"]}
    folder = folder_with(tmp_path, launches, {"a": 1020.0, "b": 9010.0})
    said = cost(build(Truth(effects=EFFECTS, seeds=1), folder))
    assert said == "2 of 2 runs, 20 s of training in all, 30 s from launch to end"


def test_how_many_ran_at_a_time_is_said_where_it_is_more_than_one(tmp_path):
    folder = folder_with(tmp_path, {1000.0: ["a"]}, {"a": 1005.0})
    assert cost(build(Truth(effects=EFFECTS, seeds=1), folder)).endswith(", 4 runs at a time")


def test_without_an_ended_run_there_is_no_cost(tmp_path):
    queued = {(arm, 0): "queued" for arm in EFFECTS}
    assert cost(build(Truth(effects=EFFECTS, seeds=1, states=queued), tmp_path)) == NOT_RUN
