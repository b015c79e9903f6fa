"""Launching: cells to executors, each started once, watched while it runs."""
