"""Where trained classifiers are kept between runs."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from components.checks import require
from components.metrics.classifier import (
    Classifier,
    Recipe,
    in_batches,
    train,
    training_images,
)
from framework.protocols import Dataset

_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """Return the platform's folder for this user's caches of ours."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "tvmlab"


PAIRS = 2**25
"""Pairs of points that a metric looks at together: 256 MiB of float64."""


class Judge:
    """The classifier of a dataset of images; it is found or trained when first asked for.

    Args:
        dataset: small images, held in memory.
        cache: folder to keep the classifier in; the platform's cache folder without one.

    Raises:
        UserError: the examples are not images.
    """

    def __init__(self, dataset: Dataset, cache: str | None) -> None:
        _check_images(dataset)
        self._dataset, self._cache = dataset, cache

    @cached_property
    def network(self) -> Classifier:
        """The classifier."""
        return classifier_of(self._dataset, self._cache)

    def name(self, metric: str) -> str:
        """Return the name of a score that depends on the classifier."""
        return f"{metric}@{self._dataset.name}-{self.network.weights_hash()}"

    def classes(self, images: Tensor) -> Tensor:
        """Return the classes (M,) that images (M, C, H, W) are sorted into, on the CPU."""
        return in_batches(self.network.to(images.device), images).argmax(dim=1).cpu()

    def features(self, images: Tensor) -> Tensor:
        """Return features (M, F) of images (M, C, H, W), computed where they lie, on the CPU."""
        return in_batches(self.network.to(images.device).features, images).cpu()

    def training_features(self) -> Tensor:
        """Return the features (N, F) of all training images, computed where the classifier lies."""
        device = next(self.network.parameters()).device
        return self.features(training_images(self._dataset).to(device))


def _check_images(dataset: Dataset) -> None:
    require(
        len(dataset.shape) == 3,
        f"this metric judges images, and {dataset.name} has examples of shape "
        f"{tuple(dataset.shape)}: for points there are metrics.wasserstein and "
        "metrics.sliced_wasserstein",
    )


def classifier_of(dataset: Dataset, cache: str | None = None) -> Classifier:
    """Return the classifier of a dataset, trained now unless it is in the cache.

    Processes that train it at once all return the weights of the first to finish. A cache that
    cannot be read or written costs time, not the result.

    Args:
        dataset: small images, held in memory.
        cache: folder to keep it in; the platform's cache folder without one.

    Raises:
        UserError: the examples are not images.
    """
    _check_images(dataset)
    recipe = Recipe()
    folder = Path(cache).expanduser() if cache else default_cache()
    path = folder / f"classifier-{dataset.name}-{recipe.key(dataset)}.pt"
    found = _read(path, dataset)
    if found is not None:
        return found
    trained = train(dataset, recipe)
    try:
        _publish(trained, path)
    except OSError as error:
        _log.warning("the classifier is not cached and will be trained again: %s", error)
        return trained
    return _read(path, dataset) or trained


def _read(path: Path, dataset: Dataset) -> Classifier | None:
    """Return the classifier in a file, or None if it is absent or damaged; damaged ones go."""
    network = Classifier(dataset.shape, dataset.num_classes)
    try:
        network.load_state_dict(torch.load(path, weights_only=True))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        _log.warning("the cached classifier cannot be read: %s", error)
        return None
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError, TypeError, KeyError) as error:
        _log.warning("the cached classifier %s is damaged and trained again: %s", path, error)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return network.requires_grad_(False).eval()


def _publish(network: Classifier, path: Path) -> None:
    """Write the weights beside `path`, then give them that name unless another process has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(network.state_dict(), file)
            file.flush()
            os.fsync(file.fileno())
        _link(Path(beside), path)
    finally:
        Path(beside).unlink(missing_ok=True)


def _link(source: Path, path: Path) -> None:
    """Give `source` the name `path` if that is free: one step, so that the first one stays."""
    try:
        path.hardlink_to(source)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links: the last one stays
        source.replace(path)
