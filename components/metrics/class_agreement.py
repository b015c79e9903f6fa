"""How many samples show the class asked for."""

from __future__ import annotations

from torch import Tensor

from components.metrics.cache import classifier_of, images_only
from components.metrics.classifier import in_batches
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

    fits = staticmethod(images_only)

    def __init__(self, dataset: Dataset, cache: LocalPath | None = None) -> None:
        self._classifier = classifier_of(dataset, cache)
        self._name = f"agreement@{dataset.name}-{self._classifier.weights_hash()}"

    def __call__(self, samples: Tensor, labels: Tensor) -> list[Score]:
        """Return the share of samples (M, C, H, W) sorted into labels (M,).

        A sample that is not finite counts as wrong.
        """
        found = in_batches(self._classifier, samples).argmax(dim=1)
        finite = samples.detach().cpu().flatten(1).isfinite().all(dim=1)
        hits = (found == labels.cpu()) & finite
        return [Score(self._name, float(hits.double().mean()), "higher")]
