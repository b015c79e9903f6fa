"""Mean and covariance of features, and the Fréchet distance between two of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Mean (F,) and covariance (F, F) of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """Return the statistics of features (M, F), M at least 2.

        Raises:
            ValueError: there is only one sample, which has no covariance.
        """
        if len(features) < 2:
            raise ValueError(f"{len(features)} samples: a covariance needs at least 2")
        wide = features.double()
        mean = wide.mean(dim=0)
        centred = wide - mean
        return cls(mean, centred.T @ centred / (len(wide) - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Return |m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), or NaN if a number is not finite.

    The trace of the root is the sum of the roots of the eigenvalues of C_a^(1/2) C_b C_a^(1/2),
    which is symmetric: no complex numbers and no iteration.
    """
    if not all(bool(part.isfinite().all()) for g in (a, b) for part in (g.mean, g.covariance)):
        return float("nan")
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ b.covariance @ root
    overlap = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * overlap
    return float((apart + spread).clamp(min=0))
