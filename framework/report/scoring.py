"""One score a run, and what may be compared with what."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from framework.statistics import at_budget

from .grid_results import GridResults
from .selection import Selection

RUN = ["arm", "variant", "seed"]

MOST_NAMED = 10
"""Runs without a number for a score that a note names; of more it says how many."""


@dataclass(frozen=True)
class Scores:
    """Scores of a grid's runs.

    Attributes:
        final: columns arm, variant, seed, step, value; one row a scored run, NaN where what it
            scored is no finite number.
        blocks: the rows that `final` averages, with their blocks.
        curves: columns arm, variant, seed, step, time, flops, value; every evaluation of a
            scored run, NaN as in `final`.
        provisional: whether no run has finished, so that running ones are compared.
        notes: what was compared, in sentences.
    """

    final: pd.DataFrame
    blocks: pd.DataFrame
    curves: pd.DataFrame
    provisional: bool
    notes: list[str]


def score_runs(grid: GridResults, selection: Selection) -> Scores:
    """Take each finished run's metric at its last evaluation.

    Finished runs of different lengths are compared at the last step that all have; where the grid
    varies the number of steps, at the last that all of their arm have. While none has finished,
    running ones are compared there. Diverged runs have no score. One block of an evaluation that is
    no finite number makes it all NaN: the others alone would flatter the run.
    """
    rows = _with_costs(selection.at_nfe(), grid.runs)
    finished = rows["state"] == "done"
    provisional = not bool(finished.any())
    rows = rows[rows["state"] != "diverged"] if provisional else rows[finished]
    notes = []
    if provisional and len(rows):
        states = ", ".join(rows["state"].astype(str).unique())
        notes.append(f"No run has finished: these are {states}, and their scores may change.")
    curves = _curves(rows)
    last = curves.groupby(RUN, sort=False)["step"].max()
    varied = any(binding.endswith("train.steps") for arm in grid.arms for binding in arm.settings)
    if last.nunique() > 1 and not varied:
        step = int(last.min())
        common = rows[rows["step"] == step]
        if len(common.drop_duplicates(RUN)) == len(last):
            notes.append(f"Runs are of different lengths: compared at step {step}.")
            return _scores(_mean(common), common, curves, provisional, notes)
        notes.append(f"Runs are of different lengths: interpolated at step {step}.")
        final = _interpolated(curves, step)
        return _scores(final, rows.iloc[:0], curves, provisional, notes)
    ends = last.groupby(["arm", "variant"], sort=False).agg(["min", "max"])
    uneven = ends[ends["min"] < ends["max"]]
    notes += [
        f"Runs of {' '.join(filter(None, (arm, variant)))} are of different lengths: read at step "
        f"{step}."
        for arm, variant, step in uneven["min"].reset_index().itertuples(index=False)
    ]
    at_end = rows["step"] == ends["min"].reindex(rows.set_index(["arm", "variant"]).index).array
    return _scores(_mean(rows[at_end]), rows[at_end], curves, provisional, notes)


def _scores(
    final: pd.DataFrame,
    blocks: pd.DataFrame,
    curves: pd.DataFrame,
    provisional: bool,
    notes: list[str],
) -> Scores:
    """Put scores together, and name the runs that have no number for one."""
    broken = final[final["value"].isna()]
    if len(broken):
        named = [
            f"{' '.join(filter(None, (arm, variant)))} seed {seed}"
            for arm, variant, seed in zip(
                broken["arm"], broken["variant"], broken["seed"], strict=True
            )
        ]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        notes.append(
            f"No number for a score: {', '.join(named[:MOST_NAMED])}{more}. Such a run "
            "counts as lost, like one that diverged."
        )
    return Scores(final, blocks, curves, provisional, notes)


def _with_costs(rows: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Give each row its run's state, and what it had cost up to there.

    Seconds are those spent training as the run itself counts them, in proportion to the step:
    neither evaluations nor the pause before a resumption belong to an arm. Where a run did not
    count, the time since its first record stands in.
    """
    pace = (runs["seconds"] / runs["step"].where(runs["step"] > 0)).astype(float)
    costs = runs[[*RUN, "state", "flops_per_step"]].assign(pace=pace.where(pace > 0))
    joined = rows.merge(costs, on=RUN)
    joined["time"] = (joined["pace"] * joined["step"]).fillna(joined["time"])
    joined["flops"] = joined["flops_per_step"] * joined["step"]
    joined["value"] = joined["value"].where(np.isfinite(joined["value"]))
    return joined


def _mean(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the blocks of one evaluation a run."""
    means = rows.groupby([*RUN, "step"], sort=False)[["value"]].mean(skipna=False)
    return means.reset_index()


def _interpolated(curves: pd.DataFrame, step: int) -> pd.DataFrame:
    """Scores at a step that not every run evaluated; none for runs first evaluated beyond it."""
    around = curves[curves.groupby(RUN, sort=False)["step"].transform("min") <= step]
    parts = [
        at_budget(rows, "step", step).scores.assign(variant=variant, step=step)
        for variant, rows in around.groupby("variant", sort=False)
    ]
    return pd.concat(parts, ignore_index=True)[[*RUN, "step", "value"]]


def _curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Every evaluation of every run, its blocks averaged."""
    groups = rows.groupby([*RUN, "step"], sort=False, as_index=False)
    spent = groups.agg(time=("time", "max"), flops=("flops", "max"))
    return spent.assign(value=groups["value"].mean(skipna=False)["value"])
