"""Many runs as one tidy pandas frame."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from framework.results import layout
from framework.results.names import plain_setting
from framework.results.reading import Tables, read_tables
from framework.results.stored import DamagedRunError, DamagedRunWarning

Kind = Literal["scalar", "evaluation"]

COLUMNS = (
    "grid",
    "arm",
    "seed",
    "identity",
    "step",
    "kind",
    "metric",
    "nfe",
    "block",
    "w",
    "weights",
    "sampler",
    "time_grid",
    "direction",
    "samples",
    "value",
    "time",
    "commit",
    "run",
)
_CODED = ("metric", "weights", "sampler", "time_grid", "direction")
_COUNTS = ("nfe", "block", "samples")
_RUN_COLUMNS = ("grid", "arm", "identity", "commit", "run")


def find_runs(directory: Path | str) -> list[Path]:
    """The folders of all runs in `directory` (itself, if it is one), sorted.

    Folders below whose name starts with a dot are left out: a grid puts former runs there.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such folder: give a run, a grid or above")
    return sorted(_runs_below(directory))


def load(
    directory: Path | str | Iterable[Path | str],
    *,
    kinds: Collection[Kind] | None = None,
    metrics: Collection[str] | None = None,
) -> pd.DataFrame:
    """A run, a grid or many, as they stand now, in one tidy frame: one row a recorded value.

    Columns: grid, arm, seed, identity, step, kind ("scalar" or "evaluation"), metric (a scalar's
    tag), nfe, block, w, weights, sampler, time_grid, direction, samples, value, time (Unix
    seconds), commit (of the code), run (the folder), then every varied setting of these runs under
    its own name ("setting NAME" where that is taken), as numbers where all are. What a row does
    not have is missing (NaN or NA): a scalar has no nfe, a run of another grid lacks a setting.
    Texts are categories.

    A run that cannot be read is named in a DamagedRunWarning and left out.

    Args:
        directory: one folder or several; each is a run or holds runs at any depth.
        kinds: only these kinds of rows.
        metrics: only these metrics or tags.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    folders = [directory] if isinstance(directory, str | Path) else list(directory)
    runs = list(dict.fromkeys(run for folder in folders for run in find_runs(folder)))
    collector = _Collector(metrics)
    for run in runs:
        try:
            tables = read_tables(run, kinds, metrics)
        except (DamagedRunError, layout.NewerSchemaError, PermissionError) as error:
            warnings.warn(f"{error}; left out", DamagedRunWarning, stacklevel=2)
            continue
        collector.add(run, tables)
    return collector.frame()


class _Collector:
    """Gathers the numbers of many runs as plain arrays, with texts as codes."""

    def __init__(self, metrics: Collection[str] | None) -> None:
        self._wanted = None if metrics is None else frozenset(metrics)
        self._runs: list[dict[str, Any]] = []
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _CODED}
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self._lengths: list[int] = []
        self._total = 0

    def add(self, run: Path, tables: Tables) -> None:
        """Takes in one run."""
        self._runs.append({**tables.place._asdict(), "commit": tables.commit, "run": str(run)})
        before = self._total
        if tables.scalars:
            self._add_scalars(tables.scalars)
        if tables.evaluations is not None:
            self._add_evaluations(tables.evaluations)
        self._lengths.append(self._total - before)

    def _add_scalars(self, scalars: list[tuple[str, NDArray[Any]]]) -> None:
        points = np.concatenate([points for _, points in scalars])
        codes = [self._code("metric", tag) for tag, _ in scalars]
        columns = {name: points[name] for name in ("step", "value", "time")}
        columns["metric"] = np.repeat(codes, [len(points) for _, points in scalars])
        self._extend(len(points), False, columns)

    def _add_evaluations(self, table: NDArray[Any]) -> None:
        if self._wanted is not None:
            table = table[np.isin(layout.column(table, "metric"), list(self._wanted))]
        columns: dict[str, NDArray[Any]] = {}
        for name in _CODED:
            values, inverse = np.unique(layout.raw_column(table, name), return_inverse=True)
            codes = [self._code(name, layout.text(value)) for value in values.tolist()]
            columns[name] = np.array(codes, np.int32)[inverse]
        for name in ("step", "value", "time", "w", *_COUNTS):
            columns[name] = layout.raw_column(table, name)
        self._extend(len(table), True, columns)

    def _extend(self, rows: int, is_evaluation: bool, columns: dict[str, NDArray[Any]]) -> None:
        defaults = {"w": np.float64(np.nan), **dict.fromkeys((*_CODED, *_COUNTS), np.int32(-1))}
        columns = {**columns, "kind": np.full(rows, is_evaluation, np.int8)}
        for name in ("step", "value", "time", "kind", "w", *_CODED, *_COUNTS):
            values = columns.get(name)
            if values is None:
                values = np.full(rows, defaults[name])
            small = name in _CODED or name in _COUNTS
            self._parts.setdefault(name, []).append(values.astype(np.int32) if small else values)
        self._total += rows

    def _code(self, name: str, value: str) -> int:
        codes = self._codes[name]
        return codes.setdefault(value, len(codes))

    def frame(self) -> pd.DataFrame:
        """Everything gathered, as the frame that `load` describes."""
        run_of_row = np.repeat(np.arange(len(self._lengths)), self._lengths)
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            if name == "seed":
                seeds = np.array([run["seed"] for run in self._runs], np.int64)
                columns[name] = seeds[run_of_row]
            elif name in _RUN_COLUMNS:
                columns[name] = _categories([run[name] for run in self._runs], run_of_row)
            else:
                columns[name] = self._column(name)
        for name in dict.fromkeys(name for run in self._runs for name in run["varied"]):
            values = [
                plain_setting(run["varied"][name]) if name in run["varied"] else None
                for run in self._runs
            ]
            label = f"setting {name}" if name in COLUMNS else name
            columns[label] = _setting(values, run_of_row)
        return pd.DataFrame(columns)

    def _column(self, name: str) -> Any:
        empty = np.empty(0, np.float64 if name in ("value", "time", "w") else np.int64)
        values = np.concatenate(self._parts.pop(name, [empty]))
        if name == "kind":
            return _categorical(values, ["scalar", "evaluation"])
        if name in _CODED:
            return _categorical(values, list(self._codes[name]))
        if name in _COUNTS:
            return pd.arrays.IntegerArray(values.astype(np.int32), values < 0)
        return values


def _runs_below(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        found = list(entries)
    if any(entry.name in (layout.HDF5_NAME, layout.JOURNAL_NAME) for entry in found):
        yield directory
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _runs_below(directory / entry.name)


def _categorical(codes: NDArray[Any], texts: list[str]) -> Any:
    return pd.Categorical.from_codes(codes, categories=pd.Index(texts, dtype=object))


def _categories(values: list[str], run_of_row: NDArray[np.intp]) -> Any:
    codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
    of_run = np.array([codes[value] for value in values], np.int32)
    return _categorical(of_run[run_of_row], list(codes))


def _setting(values: list[Any], run_of_row: NDArray[np.intp]) -> Any:
    """A varied setting's column: numbers as numbers, anything else as categories."""
    given = [value for value in values if value is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in given):
        return pd.Series(values).to_numpy()[run_of_row]
    if len(given) == len(values) and all(isinstance(value, bool) for value in given):
        return np.array(values, np.bool_)[run_of_row]
    return pd.Categorical(values)[run_of_row]
