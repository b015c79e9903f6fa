"""Every registered component: what its kind promises, and two steps of training in every pair."""

import itertools
import math
from importlib.util import find_spec

import pytest
import torch

from components.datasets import GaussianMixture
from components.models import DiT
from framework import plugins, registry
from framework.evaluator import Evaluator
from framework.protocols import Batch
from framework.testing import check_component
from tests.components.building import generators, randomised
from tests.components.covering import all_pairs, covering_rows

plugins.load_installed()
OPTIONAL = {  # the packages that components need beyond what is always installed
    "soap": "pytorch_optimizer",
    "schedule_free_adamw": "schedulefree",
    "adaptive": "torchdiffeq",
}

LARGE = {  # what a check needs beyond the smallest sizes
    "models.dit": {"hidden_size": 16, "depth": 2, "num_heads": 2},
    "models.mlp": {"shape": (2,)},
    "metrics.wasserstein": {"dataset": GaussianMixture(size=64)},
    "metrics.flow_error": {"dataset": GaussianMixture(size=64)},
    "metrics.wasserstein_bound": {"dataset": GaussianMixture(size=64, labelled=False)},
}


def ours():
    return [c for c in registry.components() if c.module.startswith("components.")]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("component", ours(), ids=lambda c: c.selector)
def test_it_keeps_what_its_kind_promises(component):
    if component.name in ("fashion_mnist", "image_folder", "latents"):
        pytest.skip("needs files: tests/components/datasets")
    if component.name == "frechet_inception_distance":
        pytest.skip("needs the Inception weights: tests/components/metrics")
    if not is_installed(component.name):
        pytest.skip(f"needs {OPTIONAL[component.name]}")
    if component.name == "flash_jvp" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    options = LARGE.get(component.selector, {})
    check_component(component.kind.name, component.name, **options)


@pytest.mark.parametrize("component", ours(), ids=lambda c: c.selector)
def test_it_says_what_it_is_and_every_setting_has_a_type(component):
    assert component.summary.endswith((".", ")")), component.summary
    assert len(component.summary) <= 95
    for setting in component.settings.values():
        assert setting.annotation is not setting.annotation.__class__
        assert setting.required or setting.problem(setting.default) is None
        assert not (setting.kinds() and not setting.required), "gin binds components"


def is_installed(name):
    return name not in OPTIONAL or find_spec(OPTIONAL[name]) is not None


def of(kind):
    return {c.name: c.build for c in registry.components(kind) if c in ours()}


FACTORS = {  # flash_jvp needs a GPU
    kind: [name for name in of(kind) if name != "flash_jvp" and is_installed(name)]
    for kind in (
        "time_embedding",
        "second_time",
        "normalization",
        "modulation_norm",
        "qk_norm",
        "initializer",
        "attention",
        "time_sampler",
        "guidance",
        "flow_map",
        "loss",
        "optimizer",
    )
}
DERIVATIVES = {"tvm", "mean_flow", "pid"}


def allowed(row):
    return not (row.get("attention") == "sdpa" and row.get("loss") in DERIVATIVES)


def network_of(row):
    parts = {
        kind: of(kind)[row[kind]]
        for kind in ("time_embedding", "second_time", "normalization", "modulation_norm", "qk_norm")
    }
    instances = {kind: of(kind)[row[kind]]() for kind in ("initializer", "attention")}
    return DiT((1, 4, 4), 3, hidden_size=8, depth=1, num_heads=2, **parts, **instances)


def loss_of(row):
    given = {kind: of(kind)[row[kind]]() for kind in ("time_sampler", "guidance", "flow_map")}
    if row["loss"] == "mean_flow":
        del given["flow_map"]
    return of("loss")[row["loss"]](**given)


ROWS = covering_rows(FACTORS, allowed)


def test_the_rows_cover_every_allowed_pair():
    seen = {frozenset(pair) for row in ROWS for pair in itertools.combinations(row.items(), 2)}
    assert seen == all_pairs(FACTORS, allowed)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_two_steps_of_training(row):
    network, loss = network_of(row), loss_of(row)
    network.initialize(generators)
    average = randomised(network_of(row), 0)  # as if trained: a teacher that says something
    evaluate = Evaluator(network, dict.fromkeys(loss.averages(), average.requires_grad_(False)))
    optimizer = of("optimizer")[row["optimizer"]](list(network.named_parameters()), lr=1e-3)
    g = torch.Generator().manual_seed(0)
    before = [p.detach().clone() for p in network.parameters()]
    for _ in range(2):
        x0, noise = torch.randn(2, 6, 1, 4, 4, generator=g)
        labels = torch.arange(6) % 3
        batch = Batch(x0, noise, labels, 3, lambda _, n: torch.rand(6, n, generator=g).double())
        total = loss(batch, evaluate).total.mean()
        assert math.isfinite(total.detach())
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(bool(p.isfinite().all()) for p in network.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))
