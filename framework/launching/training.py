"""What a job imports once, before it forks its runs: torch, the components, the trainer."""

import sklearn.model_selection  # for digits, which would import it in every run

from framework import plugins
from framework.training import run

plugins.load_installed()

__all__ = ["run", "sklearn"]
