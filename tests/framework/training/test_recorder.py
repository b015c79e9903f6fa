import math

import torch

from framework.training.recorder import LENGTH, Recorder


def row(total, part):
    return {"loss/total": torch.tensor(float(total)), "loss/part": torch.tensor(float(part))}


def filled(steps):
    recorder = Recorder(torch.device("cpu"))
    for step in range(1, steps + 1):
        recorder.record(step, row(step, 2.0 * step))
    return recorder


def test_means_are_over_the_last_steps_only():
    assert filled(100).means(100, 4) == {"loss/total": 98.5, "loss/part": 197.0}


def test_means_reach_back_no_further_than_the_run():
    assert filled(3).means(3, 20) == {"loss/total": 2.0, "loss/part": 4.0}


def test_steps_before_weights_from_elsewhere_are_not_missed():
    recorder = Recorder(torch.device("cpu"), begun=30)
    recorder.record(31, row(4, 1))
    restored = Recorder(torch.device("cpu"))
    restored.load_state_dict(recorder.state_dict())
    restored.record(32, row(2, 1))
    assert restored.means(32, 20) == {"loss/total": 3.0, "loss/part": 1.0}
    assert restored.broken(32, ["loss/total"]) is None
    assert [step for step, _ in restored.history(32)] == [31, 32]


def test_history_is_the_last_64_steps_in_order():
    history = filled(100).history(100)
    assert [step for step, _ in history] == list(range(100 - LENGTH + 1, 101))
    assert history[-1] == (100, {"loss/total": 100.0, "loss/part": 200.0})


def test_a_restored_recorder_goes_on_as_if_never_stopped():
    whole, restored = filled(70), Recorder(torch.device("cpu"))
    restored.load_state_dict(filled(50).state_dict())
    for step in range(51, 71):
        restored.record(step, row(step, 2.0 * step))
    assert restored.history(70) == whole.history(70)


def test_a_value_that_is_not_finite_stays_visible():
    recorder = filled(3)
    recorder.record(4, row(math.nan, math.inf))
    assert math.isnan(recorder.means(4, 2)["loss/total"])
    assert recorder.means(4, 2)["loss/part"] == math.inf


def test_steps_without_a_part_leave_its_mean_alone():
    recorder = filled(2)
    for step in (3, 4):
        recorder.record(step, row(step, math.nan))
    assert recorder.means(4, 4) == {"loss/total": 2.5, "loss/part": 3.0}
    assert recorder.means(4, 2) == {"loss/total": 3.5}  # not NaN: nothing broke


def test_a_part_that_broke_is_not_taken_for_one_that_no_sample_has():
    recorder = filled(2)
    recorder.record(3, row(math.inf, math.nan))
    assert math.isnan(recorder.means(3, 3)["loss/part"])


def test_only_parts_of_the_loss_may_be_missing():
    recorder = Recorder(torch.device("cpu"))
    for step, norm in enumerate([1.0, math.nan], start=1):
        recorder.record(step, row(1, 1) | {"jvp_norm": torch.tensor(norm)})
    assert math.isnan(recorder.means(2, 2)["jvp_norm"])


def test_a_part_that_comes_later_is_kept_too():
    recorder = filled(2)
    recorder.record(3, row(3, 6) | {"loss/late": torch.tensor(5.0)})
    recorder.record(4, row(4, 8))
    assert recorder.means(4, 4) == {"loss/total": 2.5, "loss/part": 5.0, "loss/late": 5.0}
    assert [k for k, values in recorder.history(4) if math.isfinite(values["loss/late"])] == [3]
