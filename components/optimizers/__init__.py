"""What updates the weights: registry `optimizers`."""

from components.optimizers.adamw import adamw
from components.optimizers.lion import lion
from components.optimizers.muon import muon
from components.optimizers.schedule_free_adamw import schedule_free_adamw
from components.optimizers.sgd import sgd
from components.optimizers.soap import soap

__all__ = ["adamw", "lion", "muon", "schedule_free_adamw", "sgd", "soap"]
