"""How the end time s of a jump enters the network: registry `second_times`."""

from components.second_times.both import Both
from components.second_times.difference import Difference
from components.second_times.end import End
from components.second_times.none import Nothing

__all__ = ["Both", "Difference", "End", "Nothing"]
