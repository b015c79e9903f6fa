"""One run on two nodes of a real SLURM, with two processes on each."""

import pytest
import torch

from framework.configuration import Configuration
from framework.grid.plan import plan
from framework.launching.launch import Options, launch
from framework.training.checkpoints import Checkpoints
from framework.training.recorder import Recorder
from tests.framework.training.small import DIGITS, SIZE, losses_of, trainer_of
from tests.slurm_cluster import Cluster, missing, said

from .conftest import states, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"needs SLURM; not installed: {missing()}"),
    pytest.mark.timeout(300),
]
STEPS = 3
CELL = (
    *SIZE,
    "grid.name = 'nodes'",
    f"train.steps = {STEPS}",
    "train.batch_size = 8",
    "train.device = 'cpu'",
    "train.distribution = 'fsdp'",
    "evaluation.metrics = ()",
    "evaluation.samples = 4",
    "evaluation.every = None",
    "evaluation.nfe = (1,)",
    "logging.pictures = 0",
    "launch.nodes = 2",
    "launch.processes = 2",
)


def test_two_nodes_train_as_one_process_does(tmp_path):
    grid = tmp_path / "grid"
    planned = plan(Configuration.load([DIGITS], CELL), "nodes")
    with Cluster(cpus=2, nodes=2):
        launched = launch(planned, grid, Options(executor="slurm"))
        until(lambda: set(states(grid).values()) <= {"done", "failed"}, "the run", seconds=200)
        job = said("scontrol", "show", "job", launched.submission.jobs[0].id)
    run = grid / planned.cells[0].directory
    assert set(states(grid).values()) == {"done"}, (run / "log.txt").read_text()
    assert "NumNodes=2" in job
    checkpoint = Checkpoints(run / "checkpoints").load()
    recorder = Recorder(torch.device("cpu"))
    recorder.load_state_dict(checkpoint["recorder"])
    found = [values["loss/total"] for _, values in recorder.history(STEPS)]
    assert found == pytest.approx(losses_of(*trainer_of(), STEPS), rel=1e-5)
