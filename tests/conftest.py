"""What holds for every test."""

from framework import plugins

plugins.load_installed()  # once, before a test puts a registry of its own in place of the real one
