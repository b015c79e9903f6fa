"""Training in several processes: who they are, and how networks lie on them."""

from framework.distribution.world import ALONE, World, joined

__all__ = ["ALONE", "World", "joined"]
