"""Grids: from `grid.*` in a gin file to named arms, cells and the manifest of their folder."""
