"""Fashion-MNIST from files made here: reading, scale, and what is wrong with a file."""

import gzip
import struct

import pytest
import torch

from components.datasets import FashionMNIST
from framework import UserError


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.numpy().tobytes()


def pictures(count, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 28, 28), generator=g, dtype=torch.uint8)


@pytest.fixture
def folder(tmp_path):
    for part, count, seed in (("train", 20, 0), ("t10k", 10, 1)):
        labels = (torch.arange(count) % 10).to(torch.uint8)
        images = gzip.compress(idx(pictures(count, seed)))  # one of each compressed, one not
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(images)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_images_labels_and_scale(folder):
    dataset = FashionMNIST(str(folder))
    everything = dataset.examples(torch.arange(20), torch.zeros(20, 2))
    assert (len(dataset), dataset.shape, dataset.num_classes) == (20, (1, 28, 28), 10)
    assert everything.x.dtype == torch.float32
    assert float(everything.x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(everything.x.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert torch.equal(dataset.images(everything.x)[..., 0], pictures(20, 0))
    held_out = dataset.held_out()
    assert torch.equal(dataset.images(held_out.x)[..., 0], pictures(10, 1))
    assert torch.equal(held_out.labels, torch.arange(10))
    assert torch.equal(dataset.labels(), everything.labels)


def test_padding_adds_background(folder):
    dataset = FashionMNIST(str(folder), padding=2)
    assert dataset.shape == (1, 32, 32)
    picture = dataset.images(dataset.held_out().x)[0, ..., 0]
    assert torch.equal(picture[2:-2, 2:-2], pictures(10, 1)[0])
    assert int(picture[:2].max()) == 0


def test_an_absent_file_is_answered_with_the_ways_to_get_it(tmp_path):
    with pytest.raises(UserError, match="dataset-fashion-mnist"):
        FashionMNIST(str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "damaged"),
        (lambda data: b"PNG" + data, "not an IDX file"),
        (lambda data: data[:2] + b"\x0d" + data[3:], "not an IDX file"),
        (lambda data: b"", "not an IDX file"),
        (lambda data: data[:6], "damaged"),
        (lambda data: gzip.compress(data)[:-9], "cannot be read"),
        (lambda data: idx(torch.zeros(3, dtype=torch.uint8)), "for 3 labels"),
    ],
)
def test_damaged_files_are_named(folder, damage, message):
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        FashionMNIST(str(folder))
