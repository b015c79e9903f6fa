"""Training from another run's weights: what is taken, what identifies it, what is refused."""

import shutil
import weakref

import pytest
import torch

from framework import UserError
from framework.configuration import Configuration
from framework.probing.shrinking import shrink
from framework.training import State, exchange, folder, run, starting, weights
from framework.training.checkpoints import Checkpoints
from framework.training.experiment import Experiment
from framework.training.loop import Loop
from framework.training.trainer import Trainer
from tests.framework.training.small import DIGITS, SIZE

TINY = (
    *SIZE,
    *("train.batch_size = 8", "train.steps = 2", "evaluation.metrics = ()", "evaluation.nfe = ()"),
)
PID = (
    "train.loss = @losses.pid()",
    "losses.pid.time_sampler = @time_samplers.uniform()",
    "losses.pid.guidance = @guidances.constant()",
    "losses.pid.flow_map = @flow_maps.scaled()",
)


def configured(*sets):
    return Configuration.load([DIGITS], [*TINY, *sets])


def starting_at(place, *sets):
    return configured(f"train.start = {str(place)!r}", *sets)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run of two steps."""
    directory = tmp_path_factory.mktemp("teacher") / "run"
    folder.prepare(directory, configured().resolve())
    assert run(directory) is State.DONE
    return directory


def held(directory):
    return Checkpoints(directory / "checkpoints").load()["averages"]["evaluation"]


def test_every_weight_starts_there(teacher):
    train = Experiment.build(starting_at(teacher, *PID).resolve()).train
    trainer = Trainer(train, torch.device("cpu"))
    trainer.begin()
    for name in ("trained", "evaluation", "target"):
        torch.testing.assert_close(
            trainer.network(name).state_dict(), held(teacher), rtol=0, atol=0
        )


def test_a_frozen_teacher_stays_and_travels_with_the_run(teacher, tmp_path):
    source = tmp_path / "teacher"
    shutil.copytree(teacher, source)
    directory, resolved = tmp_path / "student", starting_at(source, *PID).resolve()
    Experiment.build(resolved).check()
    folder.prepare(directory, resolved)
    assert "step-00000002.pt@sha256:" in (directory / "config.gin").read_text()
    assert run(directory) is State.DONE
    state = Checkpoints(directory / "checkpoints").load()
    torch.testing.assert_close(state["averages"]["target"], held(teacher), rtol=0, atol=0)
    assert not torch.equal(
        state["model"]["output.linear.weight"], held(teacher)["output.linear.weight"]
    )
    shutil.rmtree(source)  # from its own checkpoint on, it needs the teacher's files no more
    longer = Configuration.load([directory / "config.gin"]).with_sets(["train.steps = 3"]).resolve()
    folder.prepare(directory, longer)
    assert run(directory) is State.DONE


def test_a_run_that_goes_on_needs_no_more_memory(teacher, tmp_path, monkeypatch):
    shutil.copytree(teacher, tmp_path / "run")
    loaded, load = [], Checkpoints.load

    def watched(*arguments, **named):
        state = load(*arguments, **named)
        loaded.extend(weakref.ref(weight) for weight in state["model"].values())
        return state

    def alive(loop):
        assert not any(weight() is not None for weight in loaded)
        return State.DONE

    monkeypatch.setattr(Checkpoints, "load", watched)
    monkeypatch.setattr(Loop, "run", alive)
    assert run(tmp_path / "run") is State.DONE
    assert loaded


def test_the_content_identifies_it_and_not_the_place(teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "copy")
    here, there = starting_at(teacher).resolve(), starting_at(tmp_path / "copy").resolve()
    file = starting_at(teacher / "checkpoints/step-00000002.pt").resolve()
    assert here.identity == there.identity == file.identity
    assert here.identity != configured().resolve().identity
    other = tmp_path / "copy/checkpoints/step-00000002.pt"
    state = torch.load(other, weights_only=True)
    state["averages"]["evaluation"]["output.linear.bias"] += 1
    torch.save(state, other)
    assert starting_at(tmp_path / "copy").resolve().identity != here.identity


def test_a_safetensors_file_will_do(teacher, tmp_path):
    file = tmp_path / "weights.safetensors"
    exchange.export(teacher, file)
    pinned = weights.pin(str(file))
    assert weights.pin(pinned) == pinned
    torch.testing.assert_close(weights.read(pinned), dict(held(teacher)), rtol=0, atol=0)


def test_weights_with_steps_behind_them_are_trained_on(teacher, tmp_path):
    again = configured("train.steps = 4")
    starting.start(
        tmp_path / "run", Experiment.build(again.resolve()), {"evaluation": held(teacher)}, step=2
    )
    assert run(tmp_path / "run") is State.DONE


def test_what_is_not_there_is_said_with_its_setting(tmp_path):
    with pytest.raises(UserError, match=r"^--set: train.start = '.*nowhere': no weights there"):
        starting_at(tmp_path / "nowhere").resolve()


def test_weights_that_changed_or_went_are_refused(teacher, tmp_path):
    file = tmp_path / "step-00000002.pt"
    shutil.copy(teacher / "checkpoints" / file.name, file)
    pinned = weights.pin(str(file))
    torch.save({"averages": {}}, file)
    with pytest.raises(UserError, match="has changed since this run was set up"):
        weights.read(pinned)
    with pytest.raises(UserError, match="is no checkpoint of a run"):
        weights.read(weights.pin(str(file)))
    file.unlink()
    with pytest.raises(UserError, match="is gone"):
        weights.read(pinned)


def test_a_damaged_checkpoint_is_refused_before_training(teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "copy")
    file = tmp_path / "copy/checkpoints/step-00000002.pt"
    state = torch.load(file, weights_only=True)
    state["averages"]["evaluation"]["output.linear.bias"][0] += 1
    torch.save(state, file)
    with pytest.raises(UserError, match=r"^train\.start: .*step-00000002\.pt is damaged"):
        Experiment.build(starting_at(tmp_path / "copy").resolve()).check()


def test_weights_of_another_network_are_refused_before_training(teacher):
    other = starting_at(teacher, "models.dit.depth = 3").resolve()
    with pytest.raises(UserError, match=r"^train\.start: the weights lack blocks\.2"):
        Experiment.build(other).check()


def test_a_frozen_teacher_with_random_weights_is_refused():
    with pytest.raises(UserError, match=r"those are random: set train\.start"):
        Experiment.build(configured(*PID).resolve()).check()
    Experiment.build(configured(*PID, "losses.pid.teacher = 'own'").resolve()).check()


def test_the_probe_leaves_out_weights_that_all_arms_start_from(teacher):
    decays = [f"losses.tvm.target_decay = {decay}" for decay in (0.9, 0.5)]
    alike = [starting_at(teacher, decay).resolve() for decay in decays]
    small = shrink(alike, {"models.dit.depth": 1})
    assert {run.settings["train.start"] for run in small} == {None}
    differing = shrink([alike[0], configured(decays[0]).resolve()], {})
    assert differing[0].settings["train.start"] == alike[0].settings["train.start"]
