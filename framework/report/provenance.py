"""Where every number comes from: runs, settings, commands, environment."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .analysis import Analysis
from .grid_results import GridResults, RunFacts
from .headline import decimals
from .numbers import duration, fixed

SAMPLED_RUNS = 40
"""Runs whose own account of their environment is read; of more, these are spread over the grid."""


Facts = Mapping[str, RunFacts]
"""Run folder, relative to the grid's -> what the run says of itself."""


@dataclass(frozen=True)
class RunLink:
    """One run, as a report points to it.

    `command` trains it again; `explain` tells why it ended early, "" where it did not.
    """

    seed: int
    variant: str
    state: str
    detail: str
    value: str
    seconds: str
    commit: str
    folder: str
    samples: bool
    command: str
    explain: str


@dataclass(frozen=True)
class ArmLinks:
    """One arm's settings and runs."""

    anchor: str
    arm: str
    settings: dict[str, str]
    differing: list[str]
    runs: list[RunLink]


def arm_links(analysis: Analysis, facts: Facts, output: Path) -> list[ArmLinks]:
    """Collect the runs behind every arm, in the order of the ranking.

    Args:
        analysis: the findings.
        facts: what runs say of themselves.
        output: folder of the report, from which links are relative.
    """
    places = decimals(analysis) + 1
    settings = _settings(analysis, facts)
    reference = settings.get(analysis.baseline or "", {})
    runs: dict[str, list[dict]] = {}
    for run in analysis.runs.to_dict("records"):
        runs.setdefault(str(run["arm"]), []).append(run)
    return [
        ArmLinks(
            anchor=f"arm-{k + 1}",
            arm=arm,
            settings=settings[arm],
            differing=[b for b, v in settings[arm].items() if reference and v != reference.get(b)],
            runs=_run_links(analysis.grid, runs[arm], output, places),
        )
        for k, arm in enumerate(map(str, analysis.ranking.index))
    ]


def _settings(analysis: Analysis, facts: Facts) -> dict[str, dict[str, str]]:
    """Settings of every arm; those it shares with the base configuration as its run has them."""
    bindings = varied_bindings(analysis.grid)
    known = {str(arm): facts[str(run)].settings for arm, run in _first_runs(analysis).items()
             if run in facts}  # fmt: skip
    return {
        arm.name: {
            **{b: _text(known[arm.name][b]) for b in bindings if b in known.get(arm.name, {})},
            **arm.settings,
        }
        for arm in analysis.grid.arms
    }


def _first_runs(analysis: Analysis) -> dict[str, str]:
    """The first run of every arm that leaves some of the varied settings to the base."""
    bindings = set(varied_bindings(analysis.grid))
    partial = {arm.name for arm in analysis.grid.arms if not bindings <= arm.settings.keys()}
    runs = analysis.runs[analysis.runs["arm"].isin(partial)].drop_duplicates("arm")
    return dict(zip(runs["arm"].astype(str), runs["directory"].astype(str), strict=True))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run_links(grid: GridResults, runs: list[dict], output: Path, places: int) -> list[RunLink]:
    links = []
    for run in runs:
        folder = grid.directory / str(run["directory"])
        ended_early = run["state"] in ("diverged", "failed", "stopped")
        links.append(
            RunLink(
                seed=int(run["seed"]),
                variant=str(run["variant"]),
                state=str(run["state"]),
                detail=_detail(run),
                value=fixed(float(run["value"]), places),
                seconds=duration(float(run["seconds"])),
                commit=_short(str(run["commit"])),
                folder=os.path.relpath(folder, output),
                samples=(folder / "samples").is_dir(),
                command=f"python launch/train.py --gin {_shown(folder / 'config.gin')}",
                explain=f"python launch/explain.py {_shown(folder)}" if ended_early else "",
            )
        )
    return links


def _short(commit: str) -> str:
    """Ten digits of a commit; a plus where there were changes beyond it."""
    digits, _, changes = commit.partition(" ")
    return digits[:10] + ("+" if changes else "")


def _detail(run: dict) -> str:
    """Step and cause of a run that did not finish."""
    step = run["diverged_step"] if run["state"] == "diverged" else run["step"]
    where = f"step {int(step)}" if pd.notna(step) else ""
    if run["state"] == "done":
        return where
    cause = run["cause"].removesuffix(f" at {where}") if isinstance(run["cause"], str) else ""
    return ": ".join(part for part in (where, cause) if part)


def _shown(path: Path) -> str:
    """A path as a command takes it, relative where it lies below the working directory."""
    here, path = Path.cwd(), path.absolute()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def varied_bindings(grid: GridResults) -> list[str]:
    """Bindings in which at least two arms differ, in the order of their appearance."""
    bindings = list(dict.fromkeys(b for arm in grid.arms for b in arm.settings))
    return [b for b in bindings if len({arm.settings.get(b) for arm in grid.arms}) > 1] or bindings


def read_facts(analysis: Analysis) -> Facts:
    """Read what runs say of themselves; of a large grid a part, spread over it.

    Among them are runs of arms that leave settings to the base configuration.
    """
    runs = analysis.runs[analysis.runs["state"].isin(["done", "running", "diverged"])]
    stride = max(1, -(-len(runs) // SAMPLED_RUNS))
    spread = runs["directory"].iloc[::stride].astype(str)
    chosen = dict.fromkeys([*spread, *list(_first_runs(analysis).values())[:SAMPLED_RUNS]])
    reader = analysis.grid.reader
    return {directory: reader.facts(analysis.grid.directory / directory) for directory in chosen}


def environment(facts: Facts) -> dict[str, str]:
    """Machine, versions and commit; several values where runs differ."""
    seen: dict[str, dict[str, None]] = {}
    for run in facts.values():
        said = {"commit": run.commit, "host": run.host, "device": run.device, **run.versions}
        for name, value in said.items():
            if value:
                seen.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in seen.items()}
