"""A page that holds published findings against our own grids."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment, StrictUndefined

import framework.training.experiment  # noqa: F401 (registers what gin files bind)
from framework.configuration import Configuration
from framework.errors import UserError
from framework.grid.settings import Grid
from framework.runs.outcomes import ENDED

from . import figures
from .analysis import BASELINE, Analysis, analyse
from .claims import Outcome, outcomes
from .figures.style import SETTINGS
from .findings_cost import NOT_RUN, cost
from .grid_results import GridResults
from .loading import load_grid
from .metric_rows import MetricTable, metric_table
from .numbers import DASH, decimals_for, fixed, interval, probability
from .rendering import LOADER, table_cell

SETTINGS_SHOWN = ("train.steps", "train.batch_size", "evaluation.samples", "evaluation.blocks")


@dataclass(frozen=True)
class Row:
    """A claim as the page shows it; `word` is its verdict without what stands beside it."""

    claim: str
    published: str
    ours: str
    difference: str
    interval: str
    p: str
    verdict: str
    word: str


@dataclass(frozen=True)
class Picture:
    """A figure; `path` is relative to the page."""

    title: str
    path: str


@dataclass(frozen=True)
class Section:
    """One finding at one scale.

    Attributes:
        name: the grid's name, after that of its folder unless that is `runs`.
        title: its description.
        gin: the file that declares it.
        scale: data, steps, seeds and machine, in words; "" where nothing ran.
        cost: runs, their training time and the time from launch to end.
        command: makes the runs again.
        rows: the claims.
        baseline: what the arm of that name is, as bindings; "" where no arm has it.
        metrics: mean and deviation of every arm; None where nothing ran.
        pictures: figures.
        lost: what did not end well, in words.
    """

    name: str
    title: str
    gin: str
    scale: str
    cost: str
    command: str
    rows: list[Row]
    baseline: str
    metrics: MetricTable | None
    pictures: list[Picture]
    lost: str

    @property
    def subject(self) -> str:
        """The first sentence of the title."""
        return self.title.partition(". ")[0]

    @property
    def verdicts(self) -> str:
        """The verdicts with how many claims have each."""
        counts = Counter(row.word for row in self.rows)
        return ", ".join(f"{word} ({n})" if n > 1 else word for word, n in counts.items()) or DASH


def write_page(
    gin: Sequence[Path], roots: Sequence[Path], page: Path, pictures: Path, command: str
) -> list[Section]:
    """Write the page of the findings that gin files declare; return its sections.

    Where nothing ran nothing is written: the page may hold what other runs have shown.

    Args:
        gin: gin files and folders of them, in the order of the page; those without `grid.claims`
            are left out.
        roots: folders of grids; a finding has a section for each one that holds its grid.
        page: the Markdown file.
        pictures: folder of the figures.
        command: what makes the page again.

    Raises:
        UserError: a file or grid cannot be read, no file has claims, no grid of theirs has a run
            that ended, a claim does not fit its grid, or the page cannot be written.
    """
    environment = Environment(
        loader=LOADER, autoescape=False, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["cell"] = table_cell
    try:
        files = [file for path in gin for file in _files(path)]
        sections = [s for file in files for s in _sections(file, roots, page.parent, pictures)]
        _check(sections, gin, roots)
        text = environment.get_template("findings.md").render(
            sections=sections, by_word=_by_word(sections), command=command
        )
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {page}: {error.strerror or error}") from error
    return sections


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.gin")) if path.is_dir() else [path]


def _check(sections: Sequence[Section], gin: Sequence[Path], roots: Sequence[Path]) -> None:
    """Refuse a page that would say nothing."""
    if not sections:
        raise UserError(
            f"no gin file with grid.claims in {', '.join(map(str, gin))}: name files that have "
            "some, such as gin/findings"
        )
    if not any(section.scale for section in sections):
        raise UserError(
            f"no run of {', '.join(map(str, gin))} has ended in {', '.join(map(str, roots))}: "
            f"make some ({sections[0].command}), or say with --runs where the grids are"
        )


def _by_word(sections: Sequence[Section]) -> dict[str, list[tuple[Section, Row]]]:
    """Return the claims of all sections by their verdict."""
    found: dict[str, list[tuple[Section, Row]]] = {}
    for section in sections:
        for row in section.rows:
            found.setdefault(row.word, []).append((section, row))
    return found


def _sections(file: Path, roots: Sequence[Path], base: Path, pictures: Path) -> list[Section]:
    declared: Grid = Configuration.load([file]).read("grid")
    if not declared.claims:
        return []
    name = declared.name or file.stem
    found = [root / name for root in roots if (root / name / "grid.json").is_file()]
    if not found:
        return [_not_run(file, name, declared)]
    return [_section(file, declared, directory, base, pictures) for directory in found]


def _not_run(file: Path, name: str, declared: Grid) -> Section:
    rows = [_row(outcome) for outcome in outcomes(None, declared.claim_list)]
    command = f"python launch/slurm.py --gin {file}"
    title = declared.description
    return Section(name, title, str(file), "", NOT_RUN, command, rows, "", None, [], "")


def _section(file: Path, declared: Grid, directory: Path, base: Path, pictures: Path) -> Section:
    grid = load_grid(directory)
    tested = outcomes(grid, declared.claim_list)
    ran = bool(grid.runs["state"].isin(ENDED).any())
    analysis = analyse(grid) if ran and not grid.frame.empty else None
    return Section(
        name=_name(grid),
        title=declared.description,
        gin=str(file),
        scale=_scale(grid),
        cost=cost(grid),
        command=grid.command or f"python launch/slurm.py --gin {file}",
        rows=[_row(outcome) for outcome in tested],
        baseline=_baseline(grid),
        metrics=_metrics(analysis) if analysis else None,
        pictures=_drawn(analysis, tested, base, pictures) if analysis else [],
        lost=_lost(grid),
    )


def _row(outcome: Outcome) -> Row:
    """Write out an outcome."""
    claim, (arm, than) = outcome.claim, outcome.values
    places = decimals_for([outcome.high - outcome.low], [arm, than])
    said = " ".join(filter(None, [claim.arm, claim.relation, "than", claim.than]))
    ours = f"{fixed(arm, places)} / {fixed(than, places)}"
    if claim.relation == "below":
        said, ours = f"{claim.metric} below {claim.than}", f"medians {arm:.3g} / {than:.3g}"
    else:
        said += f"; {claim.condition}" if claim.condition else ""
    verdict = outcome.verdict + (f"; {outcome.note}" if outcome.note else "")
    ran = outcome.pairs or outcome.note
    return Row(
        claim=said,
        published=claim.published or DASH,
        ours=ours if ran else DASH,
        difference=fixed(outcome.difference, places, signed=True),
        interval=interval(outcome.low, outcome.high, places),
        p=probability(outcome.p),
        verdict=verdict,
        word=outcome.verdict.partition(":")[0],
    )


def _baseline(grid: GridResults) -> str:
    """Return what the arm that is called `baseline` binds."""
    named = [arm.settings for arm in grid.arms if arm.name == BASELINE]
    return ", ".join(f"{name} = {value}" for settings in named for name, value in settings.items())


def _metrics(analysis: Analysis) -> MetricTable:
    """Lay out the metrics; an arm that lacks seeds says so."""
    grid, table = analysis.compared, metric_table(analysis)
    done = grid.runs[grid.runs["state"] == "done"].groupby("arm", observed=True)["seed"].nunique()
    rows = []
    for arm, cells in table.rows:
        seeds = int(done.get(arm, 0))
        lacks = seeds < len(grid.seeds) and f" ({seeds} of {len(grid.seeds)} seeds)"
        rows.append((f"{arm}{lacks or ''}", cells))
    return MetricTable(table.heads, rows)


def _scale(grid: GridResults) -> str:
    """Say what the runs were and where they were made, as their first one has it."""
    ended = grid.runs[grid.runs["state"].isin(ENDED)]
    if ended.empty:
        return ""
    facts = grid.reader.facts(grid.directory / str(ended["directory"].iloc[0]))
    dataset = str(facts.settings.get("train.dataset", "")).rpartition(".")[2].removesuffix("()")
    known = [(name, facts.settings.get(name)) for name in SETTINGS_SHOWN]
    parts = [f"{name.rpartition('.')[2]} {value}" for name, value in known if value is not None]
    torch = facts.versions.get("torch", "")
    parts += [f"{len(grid.seeds)} seeds", facts.device, f"torch {torch}" if torch else ""]
    return ", ".join(filter(None, [dataset, *parts]))


def _lost(grid: GridResults) -> str:
    """Name the runs that ended in another way than done."""
    bad = grid.runs[grid.runs["state"].isin(("diverged", "failed", "stopped"))]
    counts = Counter(zip(bad["arm"].astype(str), bad["state"].astype(str), strict=True))
    return "; ".join(f"{arm}: {n} {state}" for (arm, state), n in counts.items())


def _name(grid: GridResults) -> str:
    folder = grid.directory.parent.name
    return grid.name if folder == "runs" else f"{folder}_{grid.name}"


def _drawn(
    analysis: Analysis, tested: Sequence[Outcome], base: Path, folder: Path
) -> list[Picture]:
    """Draw the effects, the curve of each scalar that a claim is about, and metrics with bounds."""
    grid = analysis.grid
    stem = _name(grid)
    claimed = {o.claim.metric: None for o in tested if o.claim.summary and o.claim.metric}
    pictures = []
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(SETTINGS):  # figures are laid out by it too
        drawings = [(f"{stem}_effects", "Paired differences", figures.draw_effects(analysis))]
        drawings += [
            (f"{stem}_{tag.replace('/', '_')}", tag, figures.draw_scalar(analysis, tag))
            for tag in claimed
        ]
        drawings += [
            (
                f"{stem}_{o.claim.metric}",
                f"{o.claim.metric} and {o.claim.than}",
                figures.draw_bound(analysis, o.claim),
            )
            for o in tested
            if o.claim.relation == "below" and o.pairs
        ]
        taken: Counter[str] = Counter()
        for name, title, figure in drawings:
            if figure is not None:
                taken[name] += 1  # one metric may have several bounds
                number = f"_{taken[name]}" if taken[name] > 1 else ""
                file = folder / f"{name}{number}.png"
                figure.savefig(file, dpi=110)
                pictures.append(Picture(title, os.path.relpath(file, base)))
    return pictures
