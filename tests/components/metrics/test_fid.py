"""FID: its Fréchet part, reference statistics, features, and what it lacks."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from components.datasets import Digits, GaussianMixture, Latents
from components.metrics import FrechetInceptionDistance, frechet_inception_distance
from components.metrics.inception import WEIGHTS, Inception
from components.metrics.reference import Moments, read_statistics
from components.metrics.statistics import Gaussian, frechet_distance
from framework import UserError

SIZE = 96  # instead of Inception's 2048, for time


def features(count, size, seed):
    """Features like Inception's: positive, correlated, of unequal spread."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(size, size)) / size**0.5 * np.geomspace(1, 0.03, size)
    return np.abs(generator.normal(0.4, 0.3, size=(count, size)) @ mixing)


def by_scipy(a, b):
    """The formula as the field writes it."""
    product = a.covariance.numpy() @ b.covariance.numpy()
    root = scipy.linalg.sqrtm(product).real
    apart = float((a.mean - b.mean).square().sum())
    return apart + float(np.trace(a.covariance.numpy() + b.covariance.numpy() - 2 * root))


@pytest.mark.parametrize(("size", "count"), [(16, 40), (128, 1000), (384, 3000)])
def test_the_distance_is_scipys(size, count):
    a, b = (Gaussian.of(torch.from_numpy(features(count, size, seed))) for seed in (0, 1))
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-6, abs=1e-6)


def test_moments_in_parts_are_those_of_all():
    x = torch.from_numpy(features(500, 64, 0)) + 100
    moments = Moments()
    for part in x.split(37):
        moments.add(part)
    whole, parts = Gaussian.of(x), moments.gaussian()
    assert torch.allclose(whole.mean, parts.mean, rtol=1e-12)
    assert torch.allclose(whole.covariance, parts.covariance, rtol=1e-9, atol=1e-12)


def statistics(size=SIZE):
    generator = np.random.default_rng(0)
    half = generator.normal(size=(size, size))
    return generator.normal(size=size), half @ half.T


def save(path, mu, sigma, nested=True):
    if path.suffix == ".npz":
        np.savez(path, mu=mu, sigma=sigma)
    else:
        held = {"mu": mu, "sigma": sigma}
        path.write_bytes(pickle.dumps({"fid": held} if nested else held))
    return path


@pytest.mark.parametrize("name", ["img256.pkl", "img256.npz"])
def test_statistics_come_from_files(name, tmp_path):
    mu, sigma = statistics(64)
    found = read_statistics(save(tmp_path / name, mu, sigma), 64)
    np.testing.assert_array_equal(found.mean, mu)
    np.testing.assert_array_equal(found.covariance, sigma)


class Hostile:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_a_pickle_of_statistics_runs_nothing(tmp_path):
    proof = tmp_path / "proof"
    path = tmp_path / "img256.pkl"
    path.write_bytes(pickle.dumps({"fid": {"mu": Hostile(proof)}}))
    with pytest.raises(UserError, match=r"posix\.system"):
        read_statistics(path, 64)
    assert not proof.exists()


WRONG = {
    "are wanted": lambda mu, sigma: (mu[:-1], sigma),
    "NaN": lambda mu, sigma: (mu * np.nan, sigma),
    "not symmetric": lambda mu, sigma: (mu, np.triu(sigma)),
    "array is wanted|object|allow_pickle": lambda mu, sigma: ("text", sigma),
}


@pytest.mark.parametrize("name", ["a.pkl", "a.npz"])
@pytest.mark.parametrize("words", WRONG)
def test_wrong_statistics_are_named(words, name, tmp_path):
    path = save(tmp_path / name, *WRONG[words](*statistics(16)))
    with pytest.raises(UserError, match=f"{words}|are wanted"):
        read_statistics(path, 16)


def test_files_of_something_else_are_named(tmp_path):
    for name, content in (("a.npz", b"PK"), ("b.pkl", b"x"), ("c.pkl", pickle.dumps([1]))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_statistics(path, 16)


class Extractor(torch.nn.Module):
    """Stands for torch-fidelity's network: some features of bytes, from weights in its file."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048"])
        self.weight = torch.load(feature_extractor_weights_path, weights_only=False)["weight"]

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        small = torch.nn.functional.adaptive_avg_pool2d(x.float() / 255, 8).flatten(1)
        return (torch.relu(small @ self.weight),)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    module = types.ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)
    monkeypatch.setattr(frechet_inception_distance, "FEATURES", SIZE)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "torch/hub/checkpoints" / WEIGHTS
    path.parent.mkdir(parents=True)
    torch.save({"weight": torch.randn(192, SIZE, generator=generator)}, path)
    return path


@pytest.fixture
def references(weights, tmp_path):
    """Statistics of the digits in a file, and the digits as a folder of images."""
    digits = Digits()
    pictures = digits.images(digits.examples(torch.arange(len(digits)), torch.zeros(1)).x)
    found = Gaussian.of(Inception().features(pictures))
    folder = tmp_path / "images"
    folder.mkdir()
    for i, picture in enumerate(pictures.squeeze(-1).numpy()):
        Image.fromarray(picture).save(folder / f"{i}.png")
    path = save(tmp_path / "digits.npz", found.mean.numpy(), found.covariance.numpy())
    return None, str(path), str(folder)


def test_every_reference_gives_the_same_score_as_the_formula(references):
    digits = Digits()
    samples = digits.held_out().x + 0.3
    scores = [
        FrechetInceptionDistance(digits, reference)(samples, torch.zeros(len(samples)))[0]
        for reference in references
    ]
    network = Inception()
    reference = Gaussian.of(
        network.features(
            digits.images(digits.examples(torch.arange(len(digits)), torch.zeros(1)).x)
        )
    )
    expected = frechet_distance(Gaussian.of(network.features(digits.images(samples))), reference)
    for score in scores:
        assert score.value == pytest.approx(expected, rel=1e-6)
        assert score.name.startswith("fid@digits-")
        assert score.direction == "lower"
    own = FrechetInceptionDistance(digits)(digits.held_out().x, torch.zeros(300))[0]
    assert own.value < expected


def test_a_sample_that_is_not_finite_makes_the_score_nan(weights):
    samples = torch.full((4, 1, 8, 8), torch.inf)
    assert np.isnan(FrechetInceptionDistance(Digits())(samples, torch.zeros(4))[0].value)


def latents(**options):
    return Latents(None, 8, (0.0,) * 4, (1.0,) * 4, **options)


def test_what_is_missing_is_named_with_the_ways_to_get_it(weights, tmp_path, monkeypatch):
    for arguments, words in (
        ((latents(),), "datasets.latents.vae"),
        ((GaussianMixture(),), "judges images"),
        ((Digits(), str(tmp_path / "none.pkl")), "no reference statistics at"),
    ):
        with pytest.raises(UserError, match=words):
            FrechetInceptionDistance(*arguments)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"fetch https://github.com/toshas.*weights to its file"):
        FrechetInceptionDistance(Digits())
    FrechetInceptionDistance(Digits(), weights=str(weights))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match="pip install torch-fidelity"):
        FrechetInceptionDistance(Digits(), weights=str(weights))


def test_weights_run_nothing(weights, tmp_path):
    proof = tmp_path / "proof"
    weights.write_bytes(pickle.dumps({"weight": Hostile(proof)}))
    metric = FrechetInceptionDistance(Digits())
    with pytest.raises(UserError, match="does not hold the weights"):
        metric(Digits().held_out().x, torch.zeros(300))
    assert not proof.exists()


def test_torch_fidelitys_own_network_fits(tmp_path):
    fidelity = pytest.importorskip("torch_fidelity", exc_type=ImportError)
    real = fidelity.FeatureExtractorInceptionV3
    empty = real.__new__(real)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules[real.__module__]
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(real, "load_state_dict", lambda *_: None)
        empty.__init__("inception-v3-compat", ["2048"])
    torch.save(empty.state_dict(), tmp_path / "weights.pth")
    pictures = torch.randint(0, 256, (2, 16, 16, 1), dtype=torch.uint8)
    found = Inception(str(tmp_path / "weights.pth"), "cpu").features(pictures)
    colour = pictures.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    assert found.shape == (2, 2048)
    assert torch.equal(found, empty(colour)[0].double())
