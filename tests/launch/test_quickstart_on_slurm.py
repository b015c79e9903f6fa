"""The README's first grid, with fewer steps, on a real SLURM and in local processes."""

import pytest
import torch

from framework.grid.manifest import Manifest
from framework.results import read_run
from tests.framework.launching.conftest import states, until
from tests.launch.test_tiny_grid import here
from tests.launch.test_train import ROOT, assert_equal
from tests.slurm_cluster import Cluster, missing

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"needs SLURM; not installed: {missing()}"),
    pytest.mark.timeout(600),
]
SHORT = ("train.steps = 4", "evaluation.every = 4", "evaluation.nfe = (1,)", "logging.pictures = 0",
         "evaluation.samples = 50")  # fmt: skip
SETS = [part for binding in SHORT for part in ("--set", binding)]


def launch(output, *options):
    """Run launch/slurm.py on the quickstart grid."""
    grid = ("--gin", ROOT / "gin/ablations/quickstart.gin", "--output", output, "--no-probe")
    done = here("slurm.py", *grid, *SETS, "--cpus", 1, *options)
    assert done.returncode == 0, done.stderr
    return done


def test_an_array_gives_what_local_processes_give_to_the_bit(tmp_path):
    local, array = tmp_path / "local", tmp_path / "array"
    with Cluster(cpus=2):
        told = launch(array, "--runs-per-job", 5)
        assert f"{array}: started 9 of 9 runs" in told.stderr
        jobs = [job.id for job in Manifest.read(array).submissions[0].jobs]
        first = jobs[0].partition("_")[0]
        assert jobs == [f"{first}_{index}" for index in range(2)]
        until(lambda: set(states(array).values()) == {"done"}, "the array", seconds=240)
    launch(local, "--executor", "local", "--wait")
    runs = sorted(run.relative_to(local) for run in local.glob("*/seed=*"))
    assert len(runs) == 9
    for run in runs:
        ours, theirs = read_run(local / run), read_run(array / run)
        columns = ["step", "metric", "nfe", "block", "value"]
        assert ours.evaluations[columns].equals(theirs.evaluations[columns])
        for tag in set(ours.scalars) - {"rate/steps_per_second"}:
            assert ours.scalars[tag][["step", "value"]].equals(
                theirs.scalars[tag][["step", "value"]]
            ), tag
        checkpoint = "checkpoints/step-00000004.pt"
        assert_equal(
            torch.load(local / run / checkpoint, weights_only=True),
            torch.load(array / run / checkpoint, weights_only=True),
        )
