"""What a job imports once, before it forks its runs: torch, the components, the trainer."""

from framework import plugins
from framework.training import run

plugins.load_installed()

__all__ = ["run"]
