"""Training: a run folder's configuration in, weights and results out."""

from framework.runs.heartbeat import Heartbeat, State
from framework.training.run import run

__all__ = ["Heartbeat", "State", "run"]
