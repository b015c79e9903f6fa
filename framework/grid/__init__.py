"""Grids: from `grid.*` in a gin file to named arms, cells and the manifest of their folder."""

from framework.grid.manifest import Manifest
from framework.grid.plan import Arm, Cell, Plan, plan
from framework.grid.settings import Grid

__all__ = ["Arm", "Cell", "Grid", "Manifest", "Plan", "plan"]
