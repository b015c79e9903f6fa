import math

import torch

from framework.training.recorder import LENGTH, Recorder


def filled(steps):
    recorder = Recorder(torch.device("cpu"))
    for step in range(1, steps + 1):
        recorder.record(step, {"a": torch.tensor(float(step)), "b": torch.tensor(2.0 * step)})
    return recorder


def test_means_are_over_the_last_steps_only():
    assert filled(100).means(100, 4) == {"a": 98.5, "b": 197.0}


def test_means_reach_back_no_further_than_the_run():
    assert filled(3).means(3, 20) == {"a": 2.0, "b": 4.0}


def test_history_is_the_last_64_steps_in_order():
    history = filled(100).history(100)
    assert [step for step, _ in history] == list(range(100 - LENGTH + 1, 101))
    assert history[-1] == (100, {"a": 100.0, "b": 200.0})


def test_a_restored_recorder_goes_on_as_if_never_stopped():
    whole, restored = filled(70), Recorder(torch.device("cpu"))
    restored.load_state_dict(filled(50).state_dict())
    for step in range(51, 71):
        restored.record(step, {"a": torch.tensor(float(step)), "b": torch.tensor(2.0 * step)})
    assert restored.history(70) == whole.history(70)


def test_a_value_that_is_not_finite_stays_visible():
    recorder = filled(3)
    recorder.record(4, {"a": torch.tensor(math.nan), "b": torch.tensor(math.inf)})
    assert math.isnan(recorder.means(4, 2)["a"])
    assert recorder.means(4, 2)["b"] == math.inf
