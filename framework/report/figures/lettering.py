"""How wide words come out, so that figures make room for them."""

import textwrap

from matplotlib.textpath import TextPath

SLACK = 1.05
"""What hinting may add to a line."""


def inches(text: str, size: float) -> float:
    """Width of a line of text in inches, at a size in points."""
    return SLACK * float(TextPath((0, 0), text, size=size).get_extents().width) / 72 if text else 0


def folded(text: str, width: float, size: float) -> str:
    """Break a text into lines of about `width` inches at most, at its spaces where it has some."""
    whole = inches(text, size)
    if whole <= width:
        return text
    return textwrap.fill(text, max(1, int(len(text) * width / whole)), break_on_hyphens=False)
