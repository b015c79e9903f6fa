"""What became of a grid's claims: paired differences, intervals, verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from framework.errors import UserError, nearest
from framework.grid.claims import Claim
from framework.runs.outcomes import ENDED
from framework.statistics import at_budget, holm, orient, paired_interval, score_matrix
from framework.statistics.claimed import Verdict, direction_verdicts, diverged_p

from .grid_results import GridResults
from .scalars import scalar_scores
from .scoring import score_runs
from .selection import select
from .tuned import at_best

NAN = float("nan")


@dataclass(frozen=True)
class Outcome:
    """A claim with what our runs say of it.

    Attributes:
        claim: the claim.
        values: mean of the arm and of the one compared with, over their seeds; of a bound the
            medians of both sides over all evaluations.
        difference: mean paired difference; NaN without pairs.
        low: lower end of its 95 % t interval.
        high: upper end.
        p: p-value corrected over the claims of the grid (Holm).
        pairs: seeds that both finished.
        verdict: in words.
        note: what a reader must know beside it.
    """

    claim: Claim
    values: tuple[float, float] = (NAN, NAN)
    difference: float = NAN
    low: float = NAN
    high: float = NAN
    p: float = NAN
    pairs: int = 0
    verdict: str = "not run"
    note: str = ""


@dataclass(frozen=True)
class _Read:
    """A claim as numbers: scores of both sides by seed, and the sign that was expected."""

    claim: Claim
    arm: pd.Series
    than: pd.Series
    expected: float
    lost_p: float = NAN
    lost_sign: float = 0.0
    note: str = ""


def outcomes(grid: GridResults | None, claims: Sequence[Claim]) -> list[Outcome]:
    """Test a grid's claims together; those whose runs have not all ended wait.

    Tuned arms are compared at the best that was tried for each, by the grid's own metric. Arms of
    one seed are paired, p-values of the paired t-test are corrected over the claims by
    Holm's method. Where runs of an arm diverged, `better` and `worse` are decided by how many did
    (Fisher's exact test).

    Raises:
        UserError: a claim names an arm, metric, NFE or weight that the grid does not have.
    """
    if grid is None:
        return [Outcome(claim) for claim in claims]
    left = {index: _unfinished(grid, claim) for index, claim in enumerate(claims)}
    ready = [c for i, c in enumerate(claims) if not left[i] and c.relation != "below"]
    best, tried = at_best(grid) if not all(left.values()) else (grid, 1)
    tested = iter(_tested([_read(best, claim) for claim in ready]))
    found = []
    for index, claim in enumerate(claims):
        if left[index]:
            found.append(Outcome(claim, verdict=left[index]))
        else:
            outcome = _bound(best, claim) if claim.relation == "below" else next(tested)
            found.append(outcome if tried == 1 else _tuned(outcome, tried))
    return found


def _tuned(outcome: Outcome, tried: int) -> Outcome:
    """Say beside an outcome how many settings were tried to come to it."""
    note = f"arms at the best of up to {tried} tuned settings"
    return replace(outcome, note="; ".join(filter(None, (outcome.note, note))))


def _unfinished(grid: GridResults, claim: Claim) -> str:
    """Return why a claim cannot be tested yet, or an empty string."""
    arms = grid.arm_names if claim.relation == "below" else [claim.arm, claim.than]
    for arm in arms:
        if arm not in grid.arm_names:
            hint = nearest(arm, grid.arm_names)
            raise UserError(f"{grid.name}: grid.claims names {arm!r}, which is no arm{hint}")
    runs = grid.runs[grid.runs["arm"].isin(arms)]
    ended = int(runs["state"].isin(ENDED).sum())
    if not ended:
        return "not run"
    return "" if ended == len(runs) else f"unfinished: {ended} of {len(runs)} runs"


def _read(grid: GridResults, claim: Claim) -> _Read:
    """Return what a claim compares."""
    if claim.summary is not None:
        scores, sign = scalar_scores(grid, claim.metric or "", claim.summary), 1.0
        ends = scores
    else:
        selection = select(grid, claim.metric, claim.nfe, claim.w)
        scored, sign = score_runs(grid, selection), orient(selection.direction)
        scores = ends = scored.final
        if claim.equal:  # what both arms reached: a third that is cheaper has no say
            both = scored.curves["arm"].isin([claim.arm, claim.than])
            scores = at_budget(scored.curves[both], claim.equal).scores
    matrix, final = (score_matrix(s).reindex([claim.arm, claim.than]) for s in (scores, ends))
    judged = claim.relation in ("better", "worse")
    up = claim.relation in ("better", "higher")
    expected = (1.0 if up else -1.0) * (sign if judged else 1.0)
    p, more, lost = _losses(grid, claim, ends)
    unpaired = "" if lost else _unpaired(grid, final)
    note = "; ".join(filter(None, (lost, unpaired, _uncommon(claim, matrix, final))))
    arm, than = matrix.T[claim.arm], matrix.T[claim.than]
    if not judged:
        return _Read(claim, arm, than, expected, note=note)
    return _Read(claim, arm, than, expected, p, -sign * more, note)


def _unpaired(grid: GridResults, final: pd.DataFrame) -> str:
    """Say how many seeds both sides have a score of, unless all; of failed runs there is none."""
    pairs = int(final.notna().all().sum())
    return f"paired in {pairs} of {len(grid.seeds)} seeds" if pairs < len(grid.seeds) else ""


def _uncommon(claim: Claim, matrix: pd.DataFrame, final: pd.DataFrame) -> str:
    """Say of how many seeds both sides had evaluations around the equal cost, unless of all."""
    seeds, of = (int(scores.notna().all().sum()) for scores in (matrix, final))
    if not claim.equal or seeds == of:
        return ""
    return f"common {claim.equal} in {seeds} of {of} seeds" if seeds else f"no common {claim.equal}"


def _losses(grid: GridResults, claim: Claim, scores: pd.DataFrame) -> tuple[float, float, str]:
    """Return the p-value of equal losses, whether the arm lost more, and it in words.

    Lost are runs that diverged, and those that finished with a score that is no number.
    """
    sides = (claim.arm, claim.than)
    states = [grid.runs[grid.runs["arm"] == name]["state"] for name in sides]
    broken = [int(scores[scores["arm"] == name]["value"].isna().sum()) for name in sides]
    diverged = [int((state == "diverged").sum()) for state in states]
    lost, other = (one + two for one, two in zip(diverged, broken, strict=True))
    if not lost and not other:
        return NAN, 0.0, ""
    runs, others = map(len, states)
    what = "diverged or without a number" if any(broken) else "diverged"
    said = f"{what}: {lost} of {runs} against {other} of {others}"
    return diverged_p(lost, runs, other, others), float(np.sign(lost / runs - other / others)), said


def _tested(reads: Sequence[_Read]) -> list[Outcome]:
    """Estimate all claims of a grid and correct them together."""
    if not reads:
        return []
    seeds = sorted({seed for read in reads for seed in read.arm.index})
    arms, others = (
        np.array([side.reindex(seeds).to_numpy(float) for side in sides])
        for sides in zip(*((read.arm, read.than) for read in reads), strict=True)
    )
    estimate = paired_interval(arms, others)
    lost = np.array([read.lost_p for read in reads])
    by_loss = np.isfinite(lost)
    p = holm(np.where(by_loss, lost, estimate.p))
    signs = np.where(by_loss, [read.lost_sign for read in reads], np.nan_to_num(estimate.mean))
    words = direction_verdicts(signs, [read.expected for read in reads], p)
    return [
        Outcome(
            read.claim,
            (float(read.arm.mean()), float(read.than.mean())),
            float(estimate.mean[k]), float(estimate.low[k]), float(estimate.high[k]),
            float(p[k]), int(estimate.n[k]), words[k], read.note,
        )
        for k, read in enumerate(reads)
    ]  # fmt: skip


def _bound(grid: GridResults, claim: Claim) -> Outcome:
    """See whether one metric stays below another at every evaluation of every run."""
    keys = ["arm", "seed", "step", "block"]
    below, above = (
        select(grid, name, claim.nfe, claim.w).at_nfe().set_index(keys)["value"]
        for name in (claim.metric, claim.than)
    )
    both = pd.concat([below, above], axis=1, join="inner", keys=["below", "above"])
    known = both[np.isfinite(both).all(axis=1)]
    held = int((known["below"] <= known["above"]).sum())
    note = (
        f"holds at {held} of {len(both)} evaluations; "
        f"smallest factor {(known['above'] / known['below']).min():.3g}"
    )
    if alone := len(below.index.symmetric_difference(above.index)):
        note += f"; of one of both only: {alone}"
    if lost := len(both) - len(known):
        note += f"; without a number: {lost}"
    verdict: Verdict = "opposite direction" if held < len(known) else "same direction"
    if held == len(known) and (lost or known.empty):
        verdict = "cannot tell"
    return Outcome(claim, (float(below.median()), float(above.median())), pairs=len(both),
                   verdict=verdict, note=note)  # fmt: skip
