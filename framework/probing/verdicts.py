"""What is wrong with the arms of a grid, from what their probes did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from framework.configuration import Resolved
from framework.probing.declared import WATCHED, may_change, shown
from framework.probing.fingerprints import GRADIENTS, LOSSES, SAMPLES, Fingerprint

TOLERANCE = 1e-3  # relative, in the 2-norm: float32 sums in another order are within 1e-5
MUST_AGREE = (LOSSES, GRADIENTS, SAMPLES)
WAY_OUT = "(--no-probe runs it all the same)"


@dataclass(frozen=True)
class Probed:
    """One distinct run of a grid and what its probe did.

    `family` is what it binds outside of equivalent axes: runs of one family have to agree.
    `fingerprint` is None where the probe failed, and `problem` then says why;
    `step_seconds` is what one of its updates took.
    """

    arm: str
    tuned: str
    resolved: Resolved
    family: Mapping[str, str]
    fingerprint: Fingerprint | None
    problem: str = ""
    step_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Return how messages call it."""
        return f"'{self.arm}'{f' with {self.tuned}' if self.tuned else ''}"


def refusals(probed: Sequence[Probed], baseline: Probed) -> list[str]:
    """Return what is wrong, a line each: failures, equal arms, undeclared changes."""
    return [
        *_failures(probed),
        *_equal(probed, baseline),
        *_disagreeing(probed),
        *_undeclared(probed, baseline),
    ]


def _failures(probed: Sequence[Probed]) -> Iterator[str]:
    for one in probed:
        alike = [p for p in probed if p.family == one.family and p.fingerprint is not None]
        if one.fingerprint is None and not alike:
            yield f"arm {one.name}: {one.problem}"


def _equal(probed: Sequence[Probed], baseline: Probed) -> Iterator[str]:
    """Name arms that did the same to the last bit and do not belong to one family."""
    first: dict[str, Probed] = {}
    for one in [baseline, *(p for p in probed if p is not baseline)]:
        if one.fingerprint is None:
            continue
        other = first.setdefault(one.fingerprint.digest, one)
        if other is one or other.family == one.family:
            continue
        what = f"{shown(one.resolved, other.resolved)} reaches nobody"
        whom = f"the baseline {other.name}" if other is baseline else f"arm {other.name}"
        yield (
            f"arm {one.name} draws, trains and samples exactly as {whom}: {what}: mend the "
            "component that should use it, remove the arm, or name the axis in grid.equivalent if "
            f"it is to change the cost alone {WAY_OUT}"
        )


def _disagreeing(probed: Sequence[Probed]) -> Iterator[str]:
    """Name arms that equivalent axes alone tell apart and that compute something else."""
    first: dict[tuple[tuple[str, str], ...], Probed] = {}
    for one in probed:
        if one.fingerprint is None:
            continue
        other = first.setdefault(tuple(sorted(one.family.items())), one)
        if other is one or other.fingerprint is None:
            continue
        far = {group: one.fingerprint.distance(other.fingerprint, group) for group in MUST_AGREE}
        group = max(far, key=lambda name: far[name])
        if far[group] > TOLERANCE:
            yield (
                f"arms {one.name} and {other.name} are declared grid.equivalent and their {group} "
                f"differ by {far[group]:.1e} (relative; {TOLERANCE:.0e} is allowed): mend the "
                f"component, or remove the axis from grid.equivalent {WAY_OUT}"
            )


def _undeclared(probed: Sequence[Probed], baseline: Probed) -> Iterator[str]:
    for one in probed:
        if one is baseline or one.fingerprint is None or baseline.fingerprint is None:
            continue
        allowed = may_change(one.resolved, baseline.resolved)
        changed = [
            group
            for group in WATCHED
            if group not in allowed and one.fingerprint.redrawn(baseline.fingerprint, group)
        ]
        if changed:
            binds = shown(one.resolved, baseline.resolved)
            yield (
                f"arm {one.name} changes {' and '.join(changed)}, which it should share with the "
                f"baseline {baseline.name}: it only binds {binds}: mend what that names {WAY_OUT}"
            )
