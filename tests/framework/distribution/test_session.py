"""Two processes against one: see `session` for what they do."""

import json

import pytest
import torch

from framework.training import exchange, weights
from framework.training.checkpoints import Checkpoints
from framework.training.drawing import Wanted, draw_pictures
from framework.training.restored import restore
from tests.framework.distribution import session

KINDS = ("ddp", "fsdp")


def history(outcome):
    return [
        pytest.approx(values, rel=1e-4, abs=1e-6, nan_ok=True) for _, values in outcome["history"]
    ]


def assert_equal(one, other, **tolerance):
    assert one["weights"].keys() == other["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, other["weights"][name], **tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", session.CASES)
def test_losses_gradients_and_weights_are_those_of_one_process(found, case, kind):
    several, one = found[f"{case}/{kind}"], found[f"{case}/one"]
    assert [values for _, values in several["history"]] == history(one)
    assert {name.partition("/")[0] for name in one["weights"]} >= {"trained", "evaluation"}
    low = case.startswith("fp16")
    assert_equal(several, one, rtol=0, atol=2e-3 if low else 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", session.CASES)
def test_replicas_are_equal_to_the_bit(found, case, kind):
    assert found[f"{case}/{kind} alike"] == ""


def test_gradients_are_the_same_summed_under_way_or_in_the_end(found):
    assert found["in the end"]


@pytest.mark.parametrize("case", session.CASES)
def test_nothing_is_kept_of_passes_through_shards(found, case):
    assert found[f"{case}/remembered"] == 0


def test_resuming_in_shards_is_exact(found):
    assert_equal(found["again"], found["undisturbed"], rtol=0, atol=0)


@pytest.mark.parametrize("way", ["as ddp", "by one", "from one"])
def test_checkpoints_load_on_another_number_of_processes(found, way):
    assert_equal(found[way], found["undisturbed"], rtol=0, atol=1e-5)


def test_all_go_back_behind_a_checkpoint_that_is_damaged(found):
    assert found["after damage"] == 1


def test_samples_are_those_of_one_process_and_features_are_shared(found):
    seen, shared = found["scores"]
    assert shared == pytest.approx(2 * seen)
    assert [seen, shared] == pytest.approx(found["scores of one"], rel=1e-4)


def test_optimizers_that_cannot_update_shards_are_refused(found):
    refused = {name: found[f"optimizer {name}"] for name in session.OPTIMIZERS}
    assert not (refused["adamw"] or refused["lion"] or refused["sgd"])
    assert "cannot update parameters that lie in shards" in refused["muon"]
    assert refused["soap"]  # or its package is missing


def test_all_go_on_without_compiling_where_one_process_cannot(found):
    assert found["compiled"] == [False, False]
    assert_equal(found["not compiled"], found["plain/one"], rtol=0, atol=1e-5)


def test_what_processes_cannot_share_is_refused_before_the_first_step(found):
    assert "2 processes cannot share train.batch_size = 9 evenly" in found["batch"]


def test_a_request_to_one_process_stops_all_at_the_same_step(found, path, codes):
    first, second = found["stopped after"]
    assert first == second
    assert first[1] == "SIGUSR1"
    assert codes["stopped"] == 0
    assert "asked to stop by SIGUSR2" in (path / "stopped" / "log.txt").read_text()


def test_a_stopped_run_ends_as_an_undisturbed_one(path, codes):
    assert codes["resumed"] == codes["undisturbed"] == 0
    names = ("stopped", "undisturbed")
    states = [Checkpoints(path / name / "checkpoints").load() for name in names]
    assert {state["step"] for state in states} == {6}
    first, second = ((s["model"], s["averages"], s["optimizer"]["state"]) for s in states)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_error_of_any_process_is_the_cause(path, codes):
    beat = heartbeat(path / "failed")
    assert codes["failed"] == 1
    assert beat["state"] == "failed"
    assert beat["cause"] == "process 1 of 2: ValueError: the disk is gone"
    assert "ValueError: the disk is gone" in (path / "failed" / "log.txt").read_text()


def test_divergence_is_found_by_all(path, codes):
    beat = heartbeat(path / "diverged")
    assert codes["diverged"] == 0
    assert (beat["state"], beat["diverged_step"]) == ("diverged", 2)
    assert beat["origin"]


def test_a_run_in_shards_is_restored_and_exported_by_one_process(path, codes, tmp_path):
    run = restore(path / "undisturbed")
    assert run.step == exchange.export(path / "undisturbed", tmp_path / "weights.safetensors") == 6
    held, _ = weights.read_safetensors(tmp_path / "weights.safetensors")
    network = run.trainer.network("evaluation")
    torch.testing.assert_close(held, network.state_dict(), rtol=0, atol=0)
    begun = weights.read(weights.pin(str(path / "undisturbed")))  # what train.start takes
    torch.testing.assert_close(begun, held, rtol=0, atol=0)
    (sheet,) = draw_pictures(run, Wanted(nfe=(1,), classes=(0,), count=1), tmp_path)
    assert sheet.is_file()


def heartbeat(directory):
    return json.loads((directory / "heartbeat.json").read_text())
