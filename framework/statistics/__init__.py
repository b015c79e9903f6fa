"""Statistics of ablation grids: pure functions on arrays and tidy DataFrames.

Every comparison is paired by seed, because arms of one seed share every random draw but those
that their switch changes. Functions say which method they implement and where it is described.
"""

from .bootstrap import bootstrap_interval
from .budget import Budgeted, at_budget
from .factorial import Factorial, factorial_effects
from .holm import holm
from .intervals import Estimate, paired_interval, t_interval
from .noise import noise_components
from .paired import paired_differences
from .ranking import STATES, lost_runs, rank_arms
from .scores import Direction, orient, score_matrix, summarise
from .tuning import best_variants
from .two_grids import compare_grids
from .verdict import seeds_needed, verdicts

__all__ = [
    "STATES",
    "Budgeted",
    "Direction",
    "Estimate",
    "Factorial",
    "at_budget",
    "best_variants",
    "bootstrap_interval",
    "compare_grids",
    "factorial_effects",
    "holm",
    "lost_runs",
    "noise_components",
    "orient",
    "paired_differences",
    "paired_interval",
    "rank_arms",
    "score_matrix",
    "seeds_needed",
    "summarise",
    "t_interval",
    "verdicts",
]
