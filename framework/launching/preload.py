"""Imported once by the process that runs are forked from: what takes long to import."""

import framework.training
from framework import plugins

plugins.load_installed()

__all__ = ["framework"]
