"""Fill the templates."""

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .content import Content

MOST_ROWS = 60
"""Arms that the page shows before the rest is folded away."""

LONG_TABLE = 45
"""Arms from which a LaTeX table breaks over pages."""

TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\N{MINUS SIGN}": "$-$", "±": r"$\pm$", "<": "$<$", ">": "$>$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{EN DASH}": "--", "\N{NO-BREAK SPACE}": "~", "|": r"\textbar{}", "…": r"\dots{}",
}  # fmt: skip

LOADER = PackageLoader("framework.report", "templates")


def render_html(content: Content) -> str:
    """Write the page; it needs nothing but itself."""
    environment = Environment(loader=LOADER, autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True)  # fmt: skip
    environment.filters["breakable"] = _breakable
    return environment.get_template("report.html").render(c=content, most=MOST_ROWS)


def render_markdown(content: Content) -> str:
    """Write the Markdown form, its pictures beside it."""
    environment = Environment(loader=LOADER, autoescape=False, undefined=StrictUndefined,
                              trim_blocks=True)  # fmt: skip
    environment.filters["cell"] = table_cell
    return environment.get_template("report.md").render(c=content)


def render_latex(content: Content) -> str:
    """Write the ranked table as a paper's, to be taken in by an \\input."""
    environment = Environment(
        loader=LOADER, autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        block_start_string="<%", block_end_string="%>",
        variable_start_string="<<", variable_end_string=">>", comment_start_string="<#",
        comment_end_string="#>",
    )  # fmt: skip
    environment.filters.update(tex=_tex, label=_label)
    long = len(content.rows) > LONG_TABLE
    return environment.get_template("report.tex").render(c=content, long=long)


def _breakable(text: str) -> Markup:
    """Let a browser break an arm's name after a comma, not within a word."""
    if len(text) < 32:
        return Markup('<span class="short">{}</span>').format(text)
    return Markup(",<wbr>").join(text.split(","))


def table_cell(text: object) -> str:
    """Keep text from ending a Markdown table cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def _tex(text: object) -> str:
    """Escape text for LaTeX."""
    return "".join(TEX.get(letter, letter) for letter in str(text))


def _label(text: str) -> str:
    """Make a name fit for \\label."""
    return re.sub(r"[^A-Za-z0-9:.-]+", "-", text)
