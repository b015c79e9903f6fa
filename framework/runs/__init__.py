"""A run's folder: whose it is, how the run stands, and what it said last.

Training writes here; launching, reports and explanations read.
"""

CONFIG = "config.gin"
"""The file in a run's folder that says which run it is."""
