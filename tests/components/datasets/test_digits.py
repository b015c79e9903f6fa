"""The digits: the split, the scale, and the way back to pictures."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from components.datasets import Digits


@pytest.fixture(scope="module")
def digits():
    return Digits()


def everything(digits):
    return digits.examples(torch.arange(len(digits)), torch.zeros(len(digits), 2))


def test_the_split_is_stratified_and_complete(digits):
    examples, held_out = everything(digits), digits.held_out()
    assert len(digits) == 1497
    assert examples.x.shape == (1497, *digits.shape)
    assert examples.x.dtype == torch.float32
    assert held_out.x.shape == (300, 1, 8, 8)
    assert torch.equal(examples.labels, digits.labels())
    shares = [np.bincount(part) / len(part) for part in (digits.labels(), held_out.labels)]
    np.testing.assert_allclose(*shares, atol=0.004)
    pictures = torch.cat([digits.images(examples.x), digits.images(held_out.x)])
    ours = {picture.numpy().tobytes() for picture in pictures}
    theirs = np.round(load_digits().images / 16 * 255).astype(np.uint8)
    assert ours == {picture.tobytes() for picture in theirs}


def test_it_is_the_same_each_time(digits):
    again = Digits()
    assert torch.equal(everything(again).x, everything(digits).x)
    assert torch.equal(again.held_out().labels, digits.held_out().labels)


def test_training_pixels_are_standardised(digits):
    x = everything(digits).x.double()
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)
    assert float(x.std()) == pytest.approx(1, abs=1e-6)


def test_pictures_are_clipped_not_wrapped(digits):
    pictures = digits.images(torch.tensor([-100.0, 100.0]).reshape(2, 1, 1, 1).expand(2, 1, 8, 8))
    assert pictures.dtype == torch.uint8
    assert pictures.shape == (2, 8, 8, 1)
    assert pictures[0].eq(0).all()
    assert pictures[1].eq(255).all()


def test_pictures_are_upright(digits):
    data = load_digits()
    index = int(np.flatnonzero((data.images[0] == data.images).all(axis=(1, 2)))[0])
    wanted = np.round(data.images[index] / 16 * 255).astype(np.uint8)
    pictures = torch.cat([digits.images(p.x) for p in (everything(digits), digits.held_out())])
    assert any(np.array_equal(picture[..., 0].numpy(), wanted) for picture in pictures)
