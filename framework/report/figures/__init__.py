"""The report's figures, one a file; each takes an analysis and returns a Figure or None."""

from .bound import draw_bound
from .cost import draw_cost
from .curves import draw_curves, draw_losses
from .effects import draw_effects
from .factors import draw_factors
from .nfe import draw_nfe
from .samples import draw_samples
from .scalar import draw_scalar

__all__ = [
    "draw_bound",
    "draw_cost",
    "draw_curves",
    "draw_effects",
    "draw_factors",
    "draw_losses",
    "draw_nfe",
    "draw_samples",
    "draw_scalar",
]
