"""Normalisation of queries and keys: registry `qk_norms`."""

from components.qk_norms.l2 import L2
from components.qk_norms.none import NoQKNorm
from components.qk_norms.rms import QKRMS

__all__ = ["L2", "QKRMS", "NoQKNorm"]
