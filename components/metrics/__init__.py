"""What samples are judged by: registry `metrics`."""

from components.metrics.class_agreement import ClassAgreement
from components.metrics.frechet_distance import FrechetDistance

__all__ = ["ClassAgreement", "FrechetDistance"]
