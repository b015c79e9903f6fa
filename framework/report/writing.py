"""Write all forms of a report."""

from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from framework.errors import UserError

from .analysis import Analysis
from .archive import write_archive
from .content import gather
from .pictures import draw_pictures
from .rendering import render_html, render_latex, render_markdown


@dataclass(frozen=True)
class ReportPaths:
    """Where a report lies."""

    html: Path
    markdown: Path
    latex: Path
    csv: Path
    archive: Path
    pictures: tuple[Path, ...]

    def files(self) -> dict[str, Path]:
        """Return the files by name, without the pictures."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: path for name, path in named.items() if isinstance(path, Path)}


def write_report(analysis: Analysis, output: Path) -> ReportPaths:
    """Write every form of the report into a folder, which is made if absent.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        pictures = draw_pictures(analysis, output)
        content = gather(analysis, pictures, output)
        paths = ReportPaths(
            output / "report.html", output / "report.md", output / "report.tex",
            output / "report.csv", output / "grid.h5", tuple(p.path for p in pictures),
        )  # fmt: skip
        paths.html.write_text(render_html(content), encoding="utf-8")
        paths.markdown.write_text(render_markdown(content), encoding="utf-8")
        paths.latex.write_text(render_latex(content), encoding="utf-8")
        csv_table(analysis).to_csv(paths.csv, index=False)
        write_archive(analysis, paths.archive)
    except OSError as error:
        raise UserError(
            f"cannot write the report to {output}: {error.strerror or error}; "
            "choose another folder with --output"
        ) from error
    return paths


def csv_table(analysis: Analysis) -> pd.DataFrame:
    """The ranked table in full precision, with each arm's settings and run folders."""
    table = analysis.ranking.rename_axis("arm").reset_index()
    settings = {arm.name: dict(arm.settings) for arm in analysis.grid.arms}
    varied = pd.DataFrame([settings[arm] for arm in table["arm"]])
    folders = analysis.runs.groupby("arm", sort=False)["directory"].agg(" ".join)
    if "unpaired" in table:
        table["unpaired"] = [
            " ".join(map(str, seeds)) if isinstance(seeds, list) else ""
            for seeds in table["unpaired"]
        ]
    table.insert(1, "metric", analysis.selection.metric)
    table.insert(2, "nfe", analysis.selection.nfe)
    table.insert(3, "w", analysis.selection.under["w"])
    table["directories"] = table["arm"].map(folders)
    return pd.concat([table, varied], axis=1)
