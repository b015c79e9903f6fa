"""What updates the weights: registry `optimizers`."""

from components.optimizers.adamw import adamw
from components.optimizers.sgd import sgd

__all__ = ["adamw", "sgd"]
