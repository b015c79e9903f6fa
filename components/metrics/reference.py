"""Reference statistics of FID: from a file, from a folder of images, or from a dataset."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.checks import require
from components.datasets.image_source import decoded, opened, pictures_among
from components.metrics.statistics import Gaussian
from framework import UserError
from framework.importing import RefusedError, array, read_pickle
from framework.protocols import Dataset

_READ_AT_ONCE = 256
_SYMMETRY = 1e-6
Features = Callable[[Tensor], Tensor]


class Moments:
    """Mean and covariance of features that come in parts, in float64.

    Sums are taken around the first part's mean, so that nothing cancels.
    """

    def __init__(self) -> None:
        self.count = 0
        self._centre = self._sum = self._products = torch.empty(0)

    def add(self, features: Tensor) -> None:
        """Take in features (B, F)."""
        wide = features.double()
        if not self.count:
            self._centre = wide.mean(dim=0)
            self._sum = torch.zeros_like(self._centre)
            self._products = torch.zeros(wide.shape[1], wide.shape[1], dtype=torch.float64)
        apart = wide - self._centre
        self.count += len(wide)
        self._sum += apart.sum(dim=0)
        self._products += apart.T @ apart

    def gaussian(self) -> Gaussian:
        """Return mean (F,) and covariance (F, F).

        Raises:
            ValueError: there is only one sample, which has no covariance.
        """
        if self.count < 2:
            raise ValueError(f"{self.count} samples: a covariance needs at least 2")
        shift = self._sum / self.count
        scatter = self._products - self.count * torch.outer(shift, shift)
        return Gaussian(self._centre + shift, scatter / (self.count - 1))


def statistics_of(parts: Iterable[Tensor], features: Features) -> Gaussian:
    """Return the statistics of pictures that come in parts, uint8 (B, H, W, 1 or 3) each."""
    moments = Moments()
    for part in parts:
        moments.add(features(part))
    return moments.gaussian()


def read_statistics(path: Path, size: int) -> Gaussian:
    """Return the statistics in a .pkl or .npz file of mu (F,) and sigma (F, F).

    A .pkl is {"fid": {"mu": ..., "sigma": ...}} as the release has it; it is read as data.

    Raises:
        UserError: the file is missing, damaged or of another form.
    """
    mean, covariance = _arrays(path)
    require(
        mean.shape == (size,) and covariance.shape == (size, size),
        f"{path} has statistics of shapes {mean.shape} and {covariance.shape}: ({size},) and "
        f"({size}, {size}) are wanted",
    )
    wide = [torch.from_numpy(np.array(part, dtype=np.float64)) for part in (mean, covariance)]
    require(all(bool(part.isfinite().all()) for part in wide), f"{path} holds NaN or infinity")
    apart = (wide[1] - wide[1].T).abs().max() / wide[1].abs().max().clamp(min=1e-300)
    require(float(apart) < _SYMMETRY, f"{path}: sigma is not symmetric")
    return Gaussian(wide[0], wide[1])


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as held:
                return held["mu"], held["sigma"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{path} is no .npz file with mu and sigma: {error}") from error
    match read_pickle(path):
        case {"fid": {"mu": mu, "sigma": sigma}} | {"mu": mu, "sigma": sigma}:
            try:
                return array(mu), array(sigma)
            except RefusedError as error:
                raise UserError(f"{path}: {error}") from error
    raise UserError(f'{path} holds no statistics {{"fid": {{"mu": ..., "sigma": ...}}}}')


def pictures_of_folder(source: Path) -> Iterator[Tensor]:
    """Yield all images of a folder or ZIP file in parts, uint8 (B, H, W, 1 or 3).

    Raises:
        UserError: there are none, or one cannot be read or has another size.
    """
    with opened(source) as (names, read):
        pictures = pictures_among(source, names)
        for start in range(0, len(pictures), _READ_AT_ONCE):
            some = pictures[start : start + _READ_AT_ONCE]
            images = [decoded(f"{source}/{name}", read(name)) for name in some]
            require(
                len({image.shape for image in images}) == 1,
                f"{source}: images of different sizes among {some[0]} to {some[-1]}",
            )
            yield torch.stack(images).permute(0, 2, 3, 1)


def pictures_of_dataset(dataset: Dataset) -> Iterator[Tensor]:
    """Yield the pictures of all training examples in parts, uint8 (B, H, W, 1 or 3)."""
    for indices in torch.arange(len(dataset)).split(_READ_AT_ONCE):
        u = torch.full((len(indices), 2), 0.5, dtype=torch.float64)
        yield dataset.images(dataset.examples(indices, u).x)
