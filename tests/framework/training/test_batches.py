"""Examples that are read before their step: the same ones, in the same order."""

import threading

import pytest
import torch

from framework.protocols import Examples
from framework.streams import Streams
from framework.training.batches import READERS, Batches

LENGTH, BATCH, SECONDS = 10, 4, 10.0


class Numbers:
    """Examples that are their own numbers, and the steps at which they were asked for."""

    name, shape, num_classes = "numbers", (1,), 2

    def __init__(self):
        self.asked = threading.Semaphore(0)

    def __len__(self):
        return LENGTH

    def examples(self, indices, u):
        self.asked.release()
        return Examples(torch.cat([indices[:, None].float(), u.float()], dim=1), indices % 2)


def batches_of(device):
    """Return batches for a device; nothing here needs to be on it."""
    dataset = Numbers()
    return Batches(dataset, Streams(0), BATCH, torch.device(device)), dataset


@pytest.mark.parametrize("steps", [range(1, 12), (3, 4, 9, 2, 3, 3)])
def test_what_is_read_ahead_is_what_is_wanted(steps):
    (plain, _), (ahead, _) = batches_of("cpu"), batches_of("cuda")
    for step in steps:
        torch.testing.assert_close(ahead._examples(step).x, plain._examples(step).x)


def test_the_next_steps_are_read_before_they_are_asked_for():
    ahead, dataset = batches_of("cuda")
    ahead._examples(1)
    assert all(dataset.asked.acquire(timeout=SECONDS) for _ in range(READERS + 1))
    ahead._examples(2)  # one more, and none twice
    assert dataset.asked.acquire(timeout=SECONDS)
    assert not dataset.asked.acquire(blocking=False)


def test_an_epoch_has_every_example_once():
    plain, _ = batches_of("cpu")
    seen = torch.cat([plain._examples(step).x[:, 0] for step in range(1, 6)])
    assert sorted(seen[:LENGTH].tolist()) == sorted(seen[LENGTH:].tolist()) == list(range(LENGTH))
