"""Softmax attention: registry `attentions`."""

from components.attentions.auto import Auto
from components.attentions.dense import Dense
from components.attentions.flash_jvp import FlashJVP
from components.attentions.sdpa import SDPA

__all__ = ["SDPA", "Auto", "Dense", "FlashJVP"]
