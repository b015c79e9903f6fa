"""What samples are judged by: registry `metrics`."""

from components.metrics.class_agreement import ClassAgreement
from components.metrics.coverage import Coverage
from components.metrics.frechet_distance import FrechetDistance
from components.metrics.frechet_inception_distance import FrechetInceptionDistance
from components.metrics.kernel_distance import KernelDistance
from components.metrics.sliced_wasserstein import SlicedWasserstein
from components.metrics.wasserstein import Wasserstein

__all__ = [
    "ClassAgreement",
    "Coverage",
    "FrechetDistance",
    "FrechetInceptionDistance",
    "KernelDistance",
    "SlicedWasserstein",
    "Wasserstein",
]
