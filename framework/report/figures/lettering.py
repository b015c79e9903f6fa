"""How wide words come out, so that figures make room for them."""

import textwrap

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

SLACK = 1.05
"""What hinting may add to a line."""


def inches(text: str, size: float) -> float:
    """Width of a text's widest line in inches, at a size in points."""
    font, measure = FontProperties(size=size), text_to_path.get_text_width_height_descent
    widths = [measure(line, font, ismath=False)[0] for line in text.splitlines()]
    return SLACK * max(widths, default=0) / 72


def folded(text: str, width: float, size: float) -> str:
    """Break a text into lines of about `width` inches at most, at its spaces where it has some."""
    whole = inches(text, size)
    if whole <= width:
        return text
    return textwrap.fill(text, max(1, int(len(text) * width / whole)), break_on_hyphens=False)
