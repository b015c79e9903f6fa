"""How many samples show the class asked for."""

from __future__ import annotations

from torch import Tensor

from components.metrics.cache import Judge
from framework import register
from framework.protocols import Dataset, Score
from framework.settings import LocalPath


@register.metric("class_agreement")
class ClassAgreement:
    """The share of samples that a classifier sorts into the class asked for: `agreement`.

    Args:
        dataset: what the classifier is trained on.
        cache: folder of the trained classifier; the platform's cache folder without one.
    """

    score_names = ("agreement",)

    def __init__(self, dataset: Dataset, cache: LocalPath | None = None) -> None:
        self._judge = Judge(dataset, cache)

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the share of samples (M, C, H, W) sorted into labels (M,).

        A sample that is not finite counts as wrong.
        """
        found = self._judge.classes(samples)
        finite = samples.detach().cpu().flatten(1).isfinite().all(dim=1)
        hits = (found == labels.cpu()) & finite
        return [Score(self._judge.name("agreement"), float(hits.double().mean()), "higher")]
