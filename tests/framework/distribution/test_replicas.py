"""Processes that are not alike: what is made right, and what is refused."""

import json

import pytest
import torch


def test_what_took_part_in_another_process_only_is_trained_as_by_one_process(found):
    (history, weights), (others_history, others) = found["everyone's"]
    history_of_one, by_one = found["one's"]
    assert history == others_history
    torch.testing.assert_close(weights, others, rtol=0, atol=0)
    torch.testing.assert_close(weights, by_one, rtol=0, atol=1e-6)
    assert [v for _, v in history] == [pytest.approx(v, rel=1e-5) for _, v in history_of_one]
    assert (weights["rare"] != 1).all()
    assert (weights["unused"] == 2).all()  # no weight decay where no process has a gradient


def test_sums_that_wait_for_the_whole_backward_pass_are_the_same(found):
    torch.testing.assert_close(found["everyone's later"], found["everyone's"], rtol=0, atol=0)


def test_parts_of_a_loss_are_told_apart_by_name_and_may_be_absent_in_a_process(found):
    _, values = found["everyone's"][0][0][0]
    _, of_one = found["one's"][0][0]
    parts = {name: value for name, value in of_one.items() if name.startswith("loss/")}
    assert parts.keys() == {"loss/total", "loss/a", "loss/b", "loss/empty"}
    assert parts == pytest.approx({name: values[name] for name in parts})


def test_a_part_that_comes_later_is_refused(found):
    assert (
        "the part 'loss/late' of the loss's terms was not there at the first step"
        in (found["late part"])
    )


def test_what_is_unfrozen_in_training_is_trained_together(found):
    (_, weights), _ = found["everyone's"]
    assert (weights["thawed"] != 1.5).all()
    assert found["alike"] == ""


def test_shards_of_different_gradients_are_not_summed(found):
    first, second = found["in shards"]
    assert "'fsdp': rare took part in the loss of other processes only" in first
    assert "'fsdp': unused took part" in second


def test_the_smallest_difference_of_replicas_is_named(found):
    place = "at step 4 processes 0 and 1 differ in rare of the evaluation weights"
    assert found["a bit apart"].startswith(f"runs/odd: {place}: ")


def test_processes_at_different_steps_are_refused(found):
    assert "process 0 is at step 4, and process 1 at step 5" in found["a step apart"]


def test_buffers_that_differ_between_processes_are_refused(found):
    assert "differ in normalize.running_mean of the trained weights" in found["buffers"]


def test_nobody_is_left_out_who_has_nothing_to_say(found):
    assert found["said"] == [None, 1]


CAUSES = {
    "drifted": "at step 4 processes 0 and 1 differ in",
    "behind": "step-00000002.pt is not there for process 1 of 2",
    "elsewhere": "at step 2 processes 0 and 1 differ in 0/exp_avg of the optimizer's state: let",
    "other run": "processes of different configurations have met: process 0 trains ",
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_run_whose_processes_are_not_alike_fails_and_says_why(path, codes, name):
    beat = json.loads((path / f"{name}.json").read_text())
    assert codes[name] in (1, 2)  # 2: the other one said it first
    assert beat["state"] == "failed"
    assert CAUSES[name] in beat["cause"]


def test_what_has_drifted_is_not_saved(path, codes):
    assert not (path / "drifted" / "checkpoints" / "step-00000004.pt").exists()
