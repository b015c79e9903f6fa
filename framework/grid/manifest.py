"""`grid.json`: what a grid's folder holds, and what was submitted to fill it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from framework.errors import UserError
from framework.files import publish
from framework.runs import CONFIG

SCHEMA = 1
FILE = "grid.json"


@dataclass(frozen=True)
class CellRecord:
    """One run: `directory` is relative to the grid's folder, `tuned` is binding -> text."""

    arm: str
    seed: int
    identity: str
    directory: str
    tuned: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """A scheduler's job and the directories of the cells that it runs."""

    id: str
    cells: list[str]


@dataclass
class Submission:
    """What one launch handed to an executor; its jobs have no id until that answered.

    `token` is part of the job's name; `lock` is a file that a local job holds while it lives;
    `stop`, if named, is one whose appearance ends all of its jobs.
    """

    executor: str
    token: str
    host: str
    created: float
    jobs: list[Job]
    lock: str = ""
    stop: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Submission:
        """Return a submission from JSON."""
        jobs = [Job(job["id"], list(job["cells"])) for job in values["jobs"]]
        return cls(**{**values, "jobs": jobs})


def last_jobs(submissions: Iterable[Submission]) -> dict[str, tuple[Submission, Job]]:
    """Return what each cell was handed to last, by the cell's directory."""
    return {
        cell: (submission, job)
        for submission in submissions
        for job in submission.jobs
        for cell in job.cells
    }


@dataclass
class Manifest:
    """The contents of `grid.json`; `former` are cells that the gin file no longer has.

    `equivalent` are bindings, also where the gin file names a zip of them.
    """

    name: str
    description: str
    metric: str
    metric_nfe: int | None
    baseline: str
    seeds: list[int]
    axes: dict[str, list[str]]
    zips: dict[str, dict[str, list[str]]]
    equivalent: list[str]
    arms: list[dict[str, Any]]
    cells: list[CellRecord]
    command: str
    created: float
    submissions: list[Submission] = field(default_factory=list)
    former: list[CellRecord] = field(default_factory=list)

    @classmethod
    def of(cls, directory: Path) -> Manifest:
        """Return the manifest of what a user calls a grid's folder.

        Raises:
            UserError: there is none, or `read` refuses it.
        """
        found = cls.read(directory)
        if found is None and (directory / CONFIG).is_file():
            raise UserError(f"{directory}: the folder of a run: see launch/explain.py {directory}")
        if found is None:
            raise UserError(f"{directory}: no {FILE}; give the folder of a grid, as runs/NAME")
        return found

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """Return the manifest of a grid's folder, or None where there is none.

        Raises:
            UserError: it cannot be read, or a later version wrote it.
        """
        path = directory / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}): move it away") from error
        if not isinstance(values, dict) or "schema" not in values:
            raise UserError(f"{path}: not the manifest of a grid (no schema): move it away")
        schema = values.pop("schema")
        if schema != SCHEMA:
            raise UserError(
                f"{path}: schema {schema} is not {SCHEMA}: use the tvmlab that wrote it"
            )
        try:
            for name in ("cells", "former"):
                values[name] = [CellRecord(**cell) for cell in values[name]]
            values["submissions"] = [Submission.of(entry) for entry in values["submissions"]]
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not the manifest of a grid ({error}): move it away"
            ) from error

    def continuing(self, old: Manifest | None) -> Manifest:
        """Return this manifest with what an earlier one of the same folder knew."""
        if old is None:
            return self
        kept = {cell.directory for cell in self.cells}
        former = [c for c in (*old.former, *old.cells) if c.directory not in kept]
        self.former = list({cell.directory: cell for cell in former}.values())
        self.created, self.submissions = old.created, old.submissions
        return self

    def select(self, arms: Iterable[str]) -> list[CellRecord]:
        """Return the cells of some arms, former ones included; of all without any."""
        wanted = set(arms)
        cells = [*self.cells, *self.former]
        return [cell for cell in cells if not wanted or cell.arm in wanted]

    def write(self, directory: Path) -> None:
        """Replace `grid.json` whole.

        Raises:
            OSError: no space or no permission.
        """
        publish(directory / FILE, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")
