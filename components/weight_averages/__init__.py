"""Running averages of the weights: registry `weight_averages`."""

from components.weight_averages.constant import ConstantAverage
from components.weight_averages.power import PowerAverage

__all__ = ["ConstantAverage", "PowerAverage"]
