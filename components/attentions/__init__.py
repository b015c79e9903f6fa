"""Softmax attention: registry `attentions`."""

from components.attentions.auto import Auto
from components.attentions.dense import Dense
from components.attentions.sdpa import SDPA

__all__ = ["SDPA", "Auto", "Dense"]
