"""Latents from HDF5: draws from the posterior, many readers, and what is wrong with files."""

import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
import torch

from components.datasets import Latents
from components.datasets.latents_file import open_latents, verify
from framework import UserError
from framework.testing import check_component
from tests.components.datasets.latents_files import write_latents

MEAN, STD = (0.5, -0.25, 1.0, 0.0), (2.0, 1.0, 0.5, 4.0)


@pytest.fixture(params=["float16", "float32"])
def path(tmp_path, request):
    return write_latents(tmp_path / "latents.h5", kind=request.param)


def made(path, resolution=6, mean=MEAN, std=STD, **options):
    return Latents(None if path is None else str(path), resolution, mean, std, **options)


def uniforms(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, generator=generator, dtype=torch.float64)


def test_it_keeps_what_datasets_promise(path):
    options = {"path": str(path), "resolution": 6, "mean": MEAN, "std": STD, "num_classes": 3}
    check_component("dataset", "latents", **options)


def test_a_draw_is_the_posterior_standardised(path):
    dataset = made(path, num_classes=3)
    indices = torch.tensor([7, 2, 7])
    draws = torch.stack([dataset.examples(indices, uniforms(3, s)).x for s in range(2000)])
    with h5py.File(path) as file:
        mean, std = (torch.from_numpy(file[n][()])[indices].double() for n in ("mean", "std"))
    m, s = (torch.tensor(v, dtype=torch.float64).view(4, 1, 1) for v in (MEAN, STD))
    error = (draws.double().mean(0) - (mean - m) / s) / (std / s)
    assert error.abs().max() < 5 / 2000**0.5
    spread = draws.double().std(0) / (std / s)
    assert (spread - 1).abs().max() < 5 / (2 * 2000) ** 0.5
    assert dataset.examples(indices, uniforms(3)).labels.tolist() == [1, 2, 1]


def test_the_noise_of_an_example_follows_from_its_uniform_alone(path):
    dataset = made(path, num_classes=3)
    u = uniforms(4)
    together = dataset.examples(torch.arange(4), u).x
    for i in (3, 0):
        alone = dataset.examples(torch.tensor([i]), u[i : i + 1]).x
        assert torch.equal(alone[0], together[i])
    assert not torch.equal(dataset.examples(torch.arange(4), uniforms(4, 1)).x, together)


def test_mirrored_images_are_drawn_by_the_second_uniform(tmp_path):
    flipped = {f"{name}_flipped": np.full((12, 4, 6, 6), 9, "f4") for name in ("mean", "std")}
    path = write_latents(tmp_path / "latents.h5", kind="float32", **flipped)
    plain, mirrored = made(path, num_classes=3), made(path, num_classes=3, flip=True)
    u = torch.tensor([[0.3, 0.7], [0.3, 0.2]], dtype=torch.float64)
    indices = torch.tensor([5, 5])
    a, b = plain.examples(indices, u).x, mirrored.examples(indices, u).x
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[1], b[1])
    assert torch.equal(a[0], a[1])


def read(dataset, queue, seed):
    x = dataset.examples(torch.arange(12), uniforms(12)).x
    for _ in range(20):
        assert torch.equal(dataset.examples(torch.arange(12), uniforms(12)).x, x)
    queue.put(x.double().sum().item())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_many_processes_read_at_once(path, method):
    dataset = made(path, num_classes=3)
    expected = dataset.examples(torch.arange(12), uniforms(12)).x.double().sum().item()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=read, args=(dataset, queue, i)) for i in range(3)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=100) for _ in workers] == [expected] * 3
    for worker in workers:
        worker.join()
    assert len(pickle.dumps(dataset)) < 5000


def test_it_does_not_read_the_whole_file(tmp_path):
    path = tmp_path / "latents.h5"
    shape = (200_000, 4, 32, 32)  # 3.3 GB that no disk holds: a file with a hole
    write_latents(path, count=1)
    with h5py.File(path, "a") as file:
        for name in ("mean", "std", "labels"):
            del file[name]
        for name in ("mean", "std"):
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_layout(h5py.h5d.CONTIGUOUS)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, layout)
        file["labels"] = np.zeros(len(range(shape[0])), np.int64)
    dataset = made(path, resolution=32, num_classes=3)
    some = torch.tensor([0, 199_999, 100_000])
    assert dataset.examples(some, uniforms(3)).x.shape == (3, 4, 32, 32)


def test_without_a_file_there_are_shape_classes_and_previews():
    dataset = made(None, num_classes=7)
    assert (len(dataset), dataset.shape, dataset.decodes) == (0, (4, 6, 6), False)
    assert dataset.labels().tolist() == list(range(7))
    assert dataset.images(torch.randn(2, 4, 6, 6)).shape == (2, 6, 6, 3)
    with pytest.raises(UserError, match="path is not set"):
        dataset.examples(torch.tensor([0]), uniforms(1))


def unfinished(path):
    with h5py.File(path, "a") as file:
        file["sha256"][:] = 0


def of_another_format(path):
    with h5py.File(path, "a") as file:
        file.attrs["format"] = "another"


WRONG = {
    "no file of latents at": lambda p: p.unlink(),
    "damaged or no HDF5": lambda p: p.write_bytes(p.read_bytes()[:-40]),
    "or no HDF5 file": lambda p: p.write_bytes(b"nonsense"),
    "no labels": lambda p: write_latents(p, labels=None),
    "13 labels for 12": lambda p: write_latents(p, labels=np.zeros(13, int)),
    "outside of its 3 classes": lambda p: write_latents(p, labels=np.full(12, 3)),
    "no 'std'": lambda p: write_latents(p, std=None),
    "of one shape": lambda p: write_latents(p, std=np.zeros((12, 4, 6, 5), "f4")),
    "float16 or float32": lambda p: write_latents(p, kind="float64"),
    "has latents of shape \\(4, 8, 8\\)": lambda p: write_latents(p, resolution=8),
    "has latents of shape \\(3, 6, 6\\)": lambda p: write_latents(p, channels=3),
    "has 5 classes": lambda p: write_latents(p, classes=5),
    "not finished": unfinished,
    "not a file of latents": of_another_format,
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_said_before_anything_is_read(words, tmp_path):
    path = write_latents(tmp_path / "latents.h5")
    WRONG[words](path)
    with pytest.raises(UserError, match=words):
        made(path, num_classes=3)


def test_compressed_files_and_missing_mirrors_are_refused(tmp_path):
    path = write_latents(tmp_path / "latents.h5")
    with pytest.raises(UserError, match="no mirrored images"):
        made(path, num_classes=3, flip=True)
    with h5py.File(path, "a") as file:
        mean = file["mean"][()]
        del file["mean"]
        file.create_dataset("mean", data=mean, compression="gzip")
    with pytest.raises(UserError, match="no compression"):
        made(path, num_classes=3)


def test_the_checksum_finds_a_changed_number(tmp_path):
    path = write_latents(tmp_path / "latents.h5")
    verify(path)
    table = open_latents(path).tables["std"]
    with path.open("r+b") as file:
        file.seek(table.offset + 10)
        file.write(b"\x11")
    with pytest.raises(UserError, match="checksum"):
        verify(path)
