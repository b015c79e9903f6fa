"""FID as the field computes it."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from components.checks import require
from components.datasets.latents import Latents
from components.metrics.inception import FEATURES, Inception
from components.metrics.reference import (
    Moments,
    pictures_of_dataset,
    pictures_of_folder,
    read_statistics,
    statistics_of,
)
from components.metrics.statistics import Gaussian, frechet_distance
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import LocalPath

_log = logging.getLogger("framework.fid")
_DECODED_AT_ONCE = 256


@register.metric("frechet_inception_distance")
class FrechetInceptionDistance:
    """The Fréchet distance of Inception's features (Heusel et al., 2017): `fid`.

    The score carries a hash of the weights and of the reference: those with another do not compare.

    Args:
        dataset: what samples are pictures of; its training examples are the reference if no other
            is given.
        reference: statistics in a .pkl or .npz file, or a folder or ZIP file of images.
        weights: file of the Inception weights; torch.hub's cache without one.
    """

    score_names = ("fid",)
    least_samples = 2  # for a covariance

    def __init__(
        self,
        dataset: Dataset,
        reference: LocalPath | None = None,
        weights: LocalPath | None = None,
    ) -> None:
        require(
            len(dataset.shape) == 3,
            f"metrics.frechet_inception_distance judges images, and {dataset.name} has examples of "
            f"shape {tuple(dataset.shape)}",
        )
        if isinstance(dataset, Latents):
            require(
                dataset.decodes,
                "metrics.frechet_inception_distance judges pictures: set datasets.latents.vae to "
                "the autoencoder that decodes the latents",
            )
            require(
                reference is not None,
                "metrics.frechet_inception_distance.reference is not set: name the statistics of "
                "the original images, or their folder, since decoded latents are not those",
            )
        if reference is not None:
            path = Path(reference).expanduser()
            require(
                path.exists(),
                f"no reference statistics at {path}: set metrics.frechet_inception_distance."
                "reference to a .pkl or .npz file with mu and sigma, or to a folder or ZIP file",
            )
        self._dataset = dataset
        self._inception = Inception(weights)
        self._images = reference
        if reference is not None and Path(reference).suffix in (".pkl", ".npz"):
            self._reference = read_statistics(Path(reference).expanduser(), FEATURES)

    @cached_property
    def _name(self) -> str:
        digest = hashlib.sha256(self._inception.hash.encode())
        for part in (self._reference.mean, self._reference.covariance):
            digest.update(part.float().numpy().tobytes())
        return f"fid@{self._dataset.name}-{digest.hexdigest()[:8]}"

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the distance of samples (M, C, H, W), standardised like the data, M at least 2."""
        return self._scores(self.features(part) for part in samples.split(_DECODED_AT_ONCE))

    def features(self, samples: Tensor) -> Tensor:
        """Return Inception's features (M, 2048) float64, NaN for samples that are not finite."""
        parts = [
            self._inception.features(self._dataset.images(part))
            for part in samples.split(_DECODED_AT_ONCE)
        ]
        broken = ~samples.flatten(1).isfinite().all(dim=1).cpu()
        return torch.cat(parts).masked_fill_(broken[:, None], torch.nan)

    def of_features(self, features: Tensor) -> list[Score]:
        """Return the distance of samples with the features (M, 2048)."""
        return self._scores(features.split(_DECODED_AT_ONCE))

    def _scores(self, parts: Iterable[Tensor]) -> list[Score]:
        started, moments = time.monotonic(), Moments()
        for part in parts:
            moments.add(part)
        value = frechet_distance(moments.gaussian(), self._reference)
        seconds = time.monotonic() - started
        _log.info("FID of %d samples in %.0f s%s", moments.count, seconds, _memory())
        return [Score(self._name, value, "lower")]

    @cached_property
    def _reference(self) -> Gaussian:
        """Statistics of all images of the reference, where no file has them."""
        if self._images is None:
            pictures = pictures_of_dataset(self._dataset)
        else:
            pictures = pictures_of_folder(Path(self._images).expanduser())
        return statistics_of(pictures, self._inception.features)


def _memory() -> str:
    if not torch.cuda.is_available():
        return ""
    return f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory at most"
