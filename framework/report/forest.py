"""A small drawing for a table cell: a difference with its interval, on an axis all rows share."""

import math

from markupsafe import Markup

from .numbers import Span
from .rows import Row

WIDTH, HEIGHT = 170, 20
COLORS = {"better": "#0072B2", "worse": "#D55E00"}
OPEN = "#767676"


def forest_cell(row: Row, span: Span) -> Markup:
    """Draw one row: filled triangles are decided, open circles are not; ends may leave the axis."""
    low, high = span
    scale = WIDTH / (high - low)

    def place(value: float) -> float:
        return round((min(max(value, low), high) - low) * scale, 1)

    zero, middle = place(0.0), HEIGHT / 2
    parts = [f'<line x1="{zero}" y1="0" x2="{zero}" y2="{HEIGHT}" class="zero"/>']
    value, start, end = row.numbers
    color = COLORS.get(row.kind, OPEN)
    if row.kind != "baseline" and math.isfinite(value):
        if math.isfinite(start):
            parts.append(
                f'<line x1="{place(start)}" y1="{middle}" x2="{place(end)}" y2="{middle}" '
                f'stroke="{color}" stroke-width="2"/>'
            )
            parts += [_arrow(0.0, middle, 1, color)] if start < low else []
            parts += [_arrow(WIDTH, middle, -1, color)] if end > high else []
        parts.append(_marker(row, place(value), middle, color, value))
    title = f"{row.difference} {row.interval}"
    return Markup(
        f'<svg class="forest" width="{WIDTH}" height="{HEIGHT}" role="img">'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )


def _marker(row: Row, x: float, y: float, color: str, value: float) -> str:
    if row.kind not in COLORS:
        return f'<circle cx="{x}" cy="{y}" r="4" fill="#fff" stroke="{color}" stroke-width="1.6"/>'
    side = -5 if value < 0 else 5
    points = f"{x + side},{y} {x - side * 0.8},{y - 5} {x - side * 0.8},{y + 5}"
    return f'<polygon points="{points}" fill="{color}"/>'


def _arrow(x: float, y: float, inward: int, color: str) -> str:
    tip, back = x, x + 6 * inward
    return (
        f'<polyline points="{back},{y - 4} {tip},{y} {back},{y + 4}" '
        f'fill="none" stroke="{color}" stroke-width="1.5"/>'
    )
