"""Images become latents: numbers, labels, mirrors, kills, and what is wrong with images."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from components.datasets import Latents
from components.datasets.autoencoder import Autoencoder
from components.datasets.encoding import Encoding
from components.datasets.latents_file import verify
from framework import UserError

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
COUNT = 60


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
    )
    network.save_pretrained(folder)
    return folder


def save_digits(folder, count=COUNT, by_folder=True):
    """Real digits as PNG, in a folder for each class or with dataset.json."""
    pixels, labels = load_digits(return_X_y=True)
    pairs = []
    for i in range(count):
        name = f"{labels[i]}/{i:05d}.png" if by_folder else f"00000/img{i:08d}.png"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = (pixels[i].reshape(8, 8) * 15.9).astype(np.uint8)
        Image.fromarray(image).resize((16, 16)).save(path)
        pairs.append([name, int(labels[i])])
    if not by_folder:
        (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return save_digits(tmp_path_factory.mktemp("digits"))


def silent(done, total, rate):
    pass


def encoded(images, out, vae, batch_size=8, report=silent, **options):
    return Encoding(images, out, **options).run(Autoencoder(str(vae), "cpu"), batch_size, report)


def test_the_file_holds_the_posteriors_in_order_with_labels(digits, vae, tmp_path):
    found = encoded(digits, tmp_path / "out.h5", vae, kind="float32")
    names = sorted(digits.rglob("*.png"))
    pictures = torch.stack(
        [torch.from_numpy(np.array(Image.open(n).convert("RGB"))).permute(2, 0, 1) for n in names]
    )
    mean, std = Autoencoder(str(vae), "cpu").encode(pictures)
    assert np.abs(found.tables["mean"].map() - mean.numpy()).max() < 1e-5
    assert np.abs(found.tables["std"].map() - std.numpy()).max() < 1e-5
    assert found.labels.tolist() == [int(n.parent.name) for n in names]
    assert (found.num_classes, found.shape, found.flipped) == (10, (4, 8, 8), False)
    verify(tmp_path / "out.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def test_mirrors_crops_and_json_labels(vae, tmp_path):
    images = save_digits(tmp_path / "images", 20, by_folder=False)
    found = encoded(images, tmp_path / "out.h5", vae, flip=True, crop=8, classes=12)
    assert (found.num_classes, found.shape, found.flipped) == (12, (4, 4, 4), True)
    expected = load_digits(return_X_y=True)[1][:20]
    assert found.labels.tolist() == expected.tolist()
    mirrored = found.tables["mean_flipped"].map()
    assert np.abs(mirrored - found.tables["mean"].map()).max() > 1e-3
    constants = ((0.0,) * 4, (1.0,) * 4)
    dataset = Latents(str(tmp_path / "out.h5"), 4, *constants, num_classes=12, flip=True)
    assert dataset.examples(torch.arange(3), torch.rand(3, 2).double()).x.shape == (3, 4, 4, 4)


def test_what_is_smaller_than_the_crop_is_enlarged_with_one_warning(vae, tmp_path, caplog):
    images = save_digits(tmp_path / "images", 12)
    np.save(images / "0/00000.npy", np.zeros((3, 20, 24), np.uint8))
    found = encoded(images, tmp_path / "out.h5", vae, crop=32)
    assert found.shape == (4, 16, 16)
    (said,) = caplog.messages
    assert "images/0/00000.npy is 24x20: what is smaller than --crop 32 is enlarged" in said


def test_a_zip_gives_the_same_numbers_as_its_folder(digits, vae, tmp_path):
    archive = tmp_path / "digits.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in digits.rglob("*.png"):
            packed.write(path, path.relative_to(digits))
    a, b = encoded(digits, tmp_path / "a.h5", vae), encoded(archive, tmp_path / "b.h5", vae)
    assert a.sha256 == b.sha256


def test_latents_become_pictures_again(digits, vae, tmp_path):
    encoded(digits, tmp_path / "out.h5", vae)
    constants = ((0.0,) * 4, (1.0,) * 4)
    dataset = Latents(str(tmp_path / "out.h5"), 8, *constants, num_classes=10, vae=str(vae))
    pictures = dataset.images(torch.randn(3, 4, 8, 8))
    assert (pictures.shape, pictures.dtype) == ((3, 16, 16, 3), torch.uint8)


class KilledError(Exception):
    pass


def test_it_goes_on_where_it_was(digits, vae, tmp_path):
    whole = encoded(digits, tmp_path / "whole.h5", vae)
    seen = []

    def stop(done, total, rate):
        seen.append(done)
        time.sleep(0.3)
        if done >= 32:
            raise KilledError

    with pytest.raises(KilledError):
        encoded(digits, tmp_path / "out.h5", vae, report=stop)
    assert not (tmp_path / "out.h5").exists()
    noted = int((tmp_path / "out.h5.part.done").read_text())
    assert 0 < noted <= 32
    again = []
    found = encoded(digits, tmp_path / "out.h5", vae, report=lambda d, t, r: again.append(d))
    assert again[0] == noted + 8
    assert found.sha256 == whole.sha256
    assert encoded(digits, tmp_path / "out.h5", vae).sha256 == whole.sha256


def test_what_was_noted_of_a_file_that_was_removed_does_not_count(digits, vae, tmp_path):
    whole = encoded(digits, tmp_path / "whole.h5", vae)
    (tmp_path / "out.h5.part.done").write_text("32")
    assert encoded(digits, tmp_path / "out.h5", vae).sha256 == whole.sha256


def test_an_image_that_goes_away_is_named_and_can_come_back(vae, tmp_path):
    images = save_digits(tmp_path / "images", 40)
    last = sorted(images.rglob("*.png"))[-1]
    content = last.read_bytes()
    with pytest.raises(UserError, match=rf"{last} cannot be read: No such file"):
        encoded(
            images, tmp_path / "out.h5", vae, report=lambda d, t, r: last.unlink(missing_ok=True)
        )
    last.write_bytes(content)
    found = encoded(images, tmp_path / "out.h5", vae)
    assert found.sha256 == encoded(images, tmp_path / "whole.h5", vae).sha256


def program(*arguments):
    return [sys.executable, str(ROOT / "launch/encode_latents.py"), *map(str, arguments)]


def run(*arguments):
    return subprocess.run(
        program(*arguments), capture_output=True, text=True, env=ENVIRONMENT, check=False
    )


def test_killed_with_signal_9_it_ends_with_the_same_file(vae, tmp_path):
    images = save_digits(tmp_path / "images", 1797)
    options = ("--images", images, "--vae", vae, "--batch-size", 1, "--device", "cpu")
    out = tmp_path / "out.h5"
    process = subprocess.Popen(
        program(*options, "--out", out), stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    note, deadline = tmp_path / "out.h5.part.done", time.monotonic() + 120
    while not note.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    left = int(note.read_text()) < 1797  # on a busy machine the kill may come late
    resumed = run(*options, "--out", out)
    assert resumed.returncode == 0, resumed.stderr
    assert "accelerate" not in resumed.stderr
    assert "1797 images in 10 classes, latents of 4x8x8, SHA-256" in resumed.stdout
    assert ("1797/1797 images (100.0 %)" in resumed.stderr) == left
    undisturbed = encoded(images, tmp_path / "whole.h5", vae, batch_size=1)
    assert undisturbed.sha256 in resumed.stdout
    verified = run("--verify", out)
    assert (verified.returncode, verified.stdout) == (0, resumed.stdout)


def test_another_source_or_option_does_not_go_on(digits, vae, tmp_path):
    encoded(digits, tmp_path / "out.h5", vae)
    with pytest.raises(UserError, match=r"made from something else \(flip differs\)"):
        encoded(digits, tmp_path / "out.h5", vae, flip=True)


def other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["measured"] = np.arange(3)


def cut_short(path):
    other_hdf5(path)
    path.write_bytes(path.read_bytes()[:100])


THERE = {
    "is a folder: name a file": Path.mkdir,
    "is no file of latents: name another": lambda path: path.write_text("The thesis\n"),
    "is no file of latents: name another --out$": other_hdf5,
    "is damaged: if it held latents": cut_short,
}


@pytest.mark.parametrize("words", THERE)
def test_what_is_there_is_called_what_it_is(words, digits, vae, tmp_path):
    out = tmp_path / "out.h5"
    THERE[words](out)
    with pytest.raises(UserError, match=words):
        encoded(digits, out, vae)
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def loose(folder):
    Image.new("RGB", (16, 16)).save(folder / "loose.png")


WRONG = {
    "no labels": loose,
    "--crop 16 cuts them": lambda f: Image.new("RGB", (18, 18)).save(f / "0/zz.png"),
    "squares": lambda f: Image.new("RGB", (16, 18)).save(f / "0/00000.png"),
    "not an image": lambda f: (f / "0/00000.png").write_bytes(b"x"),
    "each latent is made from 2x2": lambda f: Image.new("RGB", (15, 15)).save(f / "0/00000.png"),
    "--classes is 3": None,
}


@pytest.mark.parametrize("words", WRONG)
def test_images_that_cannot_be_used_are_named(words, vae, tmp_path):
    images = save_digits(tmp_path / "images", 12)
    if WRONG[words]:
        WRONG[words](images)
    classes = None if WRONG[words] else 3
    with pytest.raises(UserError, match=words):
        encoded(images, tmp_path / "out.h5", vae, classes=classes)
    assert not (tmp_path / "out.h5").exists()


def test_without_an_autoencoder_both_ways_to_one_are_named(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(UserError, match=r"a folder with config\.json.*hf download"):
        Autoencoder()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds no AutoencoderKL"):
        encoded(digits, tmp_path / "out.h5", tmp_path)


def test_the_hubs_cache_is_a_source(vae, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    snapshot = tmp_path / "hub/models--someone--vae/snapshots/0123"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(vae)
    assert Autoencoder("someone/vae", "cpu").factor == 2


def test_command_line_refusals(tmp_path):
    for arguments, words in (
        ((), "--images and --out"),
        (("--images", tmp_path, "--out", "x", "--crop", "0"), "not a positive number"),
    ):
        result = run(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_file_can_be_read_by_plain_h5py(digits, vae, tmp_path):
    encoded(digits, tmp_path / "out.h5", vae)
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file) == {"mean", "std", "labels", "sha256"}
        assert file["mean"].dtype == np.float16
