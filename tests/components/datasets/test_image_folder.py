"""Folders and ZIP files of images: reading, labels, and what is wrong with them."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from components.datasets import ImageFolder
from components.datasets.image_source import decoded
from framework import UserError

NAMES = ["00000/a.png", "00000/b.npy", "00001/c.png"]


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (3, 6, 5), dtype=np.uint8)


def encoded(name, array):
    stream = io.BytesIO()
    if name.endswith(".npy"):
        np.save(stream, array)
    else:
        Image.fromarray(array.transpose(1, 2, 0)).save(stream, format="PNG")
    return stream.getvalue()


def png(mode, colour, **options):
    stream = io.BytesIO()
    Image.new(mode, (5, 6), colour).save(stream, format="PNG", **options)
    return stream.getvalue()


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def files(labels=(4, 0, 2)):
    made = {name: encoded(name, pixels(i)) for i, name in enumerate(NAMES)}
    pairs = [[name, label] for name, label in zip(NAMES, labels, strict=True)]
    return {**made, "dataset.json": json.dumps({"labels": pairs}).encode()}


def zipped(folder, content):
    path = folder / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("pack", [write, zipped])
def test_images_are_in_order_of_name_with_their_labels(tmp_path, pack):
    dataset = ImageFolder(str(pack(tmp_path, files())))
    everything = dataset.examples(torch.arange(3), torch.zeros(3, 2))
    assert (len(dataset), dataset.shape, dataset.num_classes) == (3, (3, 6, 5), 5)
    assert everything.labels.tolist() == [4, 0, 2]
    expected = np.stack([pixels(i).transpose(1, 2, 0) for i in range(3)])
    np.testing.assert_array_equal(dataset.images(everything.x).numpy(), expected)


@pytest.mark.parametrize("labels", [None, b'{"labels": null}'])
def test_without_labels_all_are_of_one_class(tmp_path, labels):
    content = {**files(), "dataset.json": labels}
    if labels is None:
        del content["dataset.json"]
    dataset = ImageFolder(str(write(tmp_path, content)))
    assert dataset.num_classes == 1
    assert dataset.labels().tolist() == [0, 0, 0]


def test_held_out_images_are_kept_from_training(tmp_path):
    dataset = ImageFolder(str(write(tmp_path, files())), held_out=1)
    assert dataset.held_out().labels.tolist() == [4]
    assert dataset.labels().tolist() == [0, 2]
    assert dataset.num_classes == 5
    with pytest.raises(UserError, match="held_out is 3"):
        ImageFolder(str(tmp_path), held_out=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset.json": b"{"}, r"dataset\.json is not"),
        ({"dataset.json": b'{"labels": [["00000/a.png", 1]]}'}, "no label for 00000/b.npy"),
        ({"00000/a.png": b"nonsense"}, r"00000/a\.png is not an image"),
        ({"00000/b.npy": encoded("b.npy", pixels(0)[:, :4])}, "one size"),
        ({"00000/b.npy": encoded("b.npy", pixels(0) / 2)}, "unsigned bytes"),
        ({"00000/a.png": png("I;16", 40000)}, r"00000/a\.png has samples of 16 or more bits"),
        ({"00000/a.png": png("RGBA", (9, 8, 7, 254))}, r"00000/a\.png has transparent pixels"),
        ({"00000/a.png": png("P", 0, transparency=0)}, r"00000/a\.png has transparent pixels"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        ImageFolder(str(write(tmp_path, {**files(), **change})))


def test_opaque_alpha_is_left_out():
    image = decoded("a.png", png("RGBA", (9, 8, 7, 255)))
    assert image.shape == (3, 6, 5)
    assert image.flatten(1).unique(dim=1).tolist() == [[9], [8], [7]]


def test_a_path_that_holds_nothing_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no PNG"):
        ImageFolder(str(tmp_path))
    with pytest.raises(UserError, match="not a folder or ZIP file"):
        ImageFolder(str(tmp_path / "missing.zip"))
