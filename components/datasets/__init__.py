"""What is learned from: registry `datasets`."""

from components.datasets.digits import Digits

__all__ = ["Digits"]
