"""Metrics: the classifier behind them, its cache, and the scores."""

import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from components.datasets import Digits
from components.metrics import ClassAgreement, FrechetDistance
from components.metrics.cache import classifier_of, default_cache
from components.metrics.classifier import Recipe, in_batches, train
from components.metrics.statistics import Gaussian, frechet_distance


@pytest.fixture(scope="module")
def digits():
    return Digits()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def classifier(digits, cache):
    return classifier_of(digits, cache)


def held_out_accuracy(network, dataset):
    examples = dataset.held_out()
    return float((in_batches(network, examples.x).argmax(dim=1) == examples.labels).double().mean())


def test_the_classifier_sorts_held_out_digits(classifier, digits):
    assert held_out_accuracy(classifier, digits) >= 0.98


def test_training_is_deterministic_and_disturbs_nothing(digits):
    recipe, threads = Recipe(epochs=1), torch.get_num_threads()
    state = torch.random.get_rng_state()
    first = train(digits, recipe).weights_hash()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(1)
    assert train(digits, recipe).weights_hash() == first
    assert torch.get_num_threads() == threads
    assert train(digits, Recipe(epochs=1, seed=1)).weights_hash() != first


def cached_file(cache):
    (found,) = Path(cache).glob("*.pt")
    return found


def test_the_cache_is_used_and_its_folder_has_one_file(classifier, digits, cache):
    before = cached_file(cache).stat()
    assert classifier_of(digits, cache).weights_hash() == classifier.weights_hash()
    assert cached_file(cache).stat() == before


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_cache_is_made_again(damage, digits, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("components.metrics.cache.Recipe", lambda: Recipe(epochs=1))
    folder = str(tmp_path)
    intact = classifier_of(digits, folder).weights_hash()
    path = cached_file(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert classifier_of(digits, folder).weights_hash() == intact
    assert "damaged" in caplog.text
    assert path.stat().st_size == len(whole)
    assert list(tmp_path.iterdir()) == [path]


def test_a_cache_that_cannot_be_written_costs_only_time(digits, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("components.metrics.cache.Recipe", lambda: Recipe(epochs=1))
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        network = classifier_of(digits, str(tmp_path / "file"))
    assert network.weights_hash() == train(digits, Recipe(epochs=1)).weights_hash()
    assert "not cached" in caplog.text


def test_processes_that_train_at_once_agree(digits, tmp_path):
    program = (
        "import sys\n"
        "from components.datasets import Digits\n"
        "from components.metrics import cache\n"
        "from components.metrics.classifier import Recipe\n"
        "cache.Recipe = lambda: Recipe(epochs=1)\n"
        "print(cache.classifier_of(Digits(), sys.argv[1]).weights_hash())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    hashes = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert hashes == {train(digits, Recipe(epochs=1)).weights_hash()}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_default_cache_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tvmlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "tvmlab"


def random_features(seed, count=200, size=12):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + seed


@pytest.mark.parametrize("rank", [12, 5])
def test_the_frechet_distance_is_its_definition(rank):
    a, b = random_features(1), random_features(2)
    a[:, rank:] = 0  # covariances that cannot be inverted
    means = [x.mean(axis=0) for x in (a, b)]
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = np.square(means[0] - means[1]).sum() + np.trace(sum(covariances) - 2 * root.real)
    found = frechet_distance(*(Gaussian.of(torch.from_numpy(x)) for x in (a, b)))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_frechet_distance_from_itself_is_zero_and_it_is_symmetric():
    a, b = (Gaussian.of(torch.from_numpy(random_features(seed))) for seed in (1, 2))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    with pytest.raises(ValueError, match="at least 2"):
        Gaussian.of(torch.zeros(1, 3))


def test_scores_of_real_and_of_other_images(classifier, digits, cache):
    agreement, fd = ClassAgreement(digits, cache), FrechetDistance(digits, cache)
    real = digits.held_out()
    names = [score.name for metric in (agreement, fd) for score in metric(real.x, real.labels)]
    assert names == [f"{n}@digits-{classifier.weights_hash()}" for n in ("agreement", "fd")]
    (right,), (near,) = agreement(real.x, real.labels), fd(real.x, real.labels)
    assert right.value == pytest.approx(held_out_accuracy(classifier, digits))
    assert (right.direction, near.direction) == ("higher", "lower")
    (wrong,) = agreement(real.x, (real.labels + 1) % 10)
    assert wrong.value < 0.02
    noise = torch.randn(real.x.shape, generator=torch.Generator().manual_seed(0))
    assert fd(noise, real.labels)[0].value > 10 * near.value
    everything = digits.examples(torch.arange(len(digits)), torch.zeros(1, 2))
    assert fd(everything.x, everything.labels)[0].value == pytest.approx(0, abs=1e-6)


def test_samples_that_are_not_finite_are_not_hidden(classifier, digits, cache):
    samples, labels = digits.held_out().x.clone(), digits.held_out().labels
    half = len(samples) // 2
    samples[:half, 0, 0, 0] = float("nan")
    (found,) = ClassAgreement(digits, cache)(samples, labels)
    assert 0.45 < found.value <= 0.5
    assert math.isnan(FrechetDistance(digits, cache)(samples, labels)[0].value)
