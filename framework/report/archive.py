"""One HDF5 file with everything of a grid in it."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from framework.files import replacing

from .analysis import Analysis

SCHEMA = 1
TEXT = h5py.string_dtype("utf-8")


def write_archive(analysis: Analysis, path: Path) -> None:
    """Write the grid's file: manifest, all results, the findings, and every run's own file.

    `/results` and `/runs` hold one dataset a column, `/ranking` the table of the report, and
    `/files/ARM/seed=K-IDENTITY8` a copy of each run's HDF5. Text is UTF-8; missing numbers are
    NaN, missing text the code -1. The file is written beside and renamed, so it is whole or not
    there.
    """
    grid = analysis.grid
    with replacing(path) as beside, h5py.File(beside, "w") as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["name"] = grid.name
        file.attrs["description"] = grid.description
        file.attrs["metric"] = analysis.selection.metric
        file.attrs["metric_names"] = json.dumps(analysis.selection.full_names)
        file.attrs["direction"] = analysis.selection.direction
        file.attrs["nfe"] = -1 if analysis.selection.nfe is None else analysis.selection.nfe
        file.attrs["w"] = analysis.selection.under["w"]
        file.attrs["baseline"] = analysis.baseline or ""
        file.attrs["command"] = grid.command
        file.attrs["arms"] = json.dumps({arm.name: dict(arm.settings) for arm in grid.arms})
        _table(file, "results", grid.frame, "every scalar and evaluation, one row a value")
        _table(file, "runs", analysis.runs, "one row a run; value is its score")
        ranking = analysis.ranking.rename_axis("arm").reset_index()
        if "unpaired" in ranking:
            ranking["unpaired"] = ranking["unpaired"].map(_text)
        _table(file, "ranking", ranking, "the ranked table, best arm first")
        _copies(analysis, file)


def _table(file: h5py.File, name: str, table: pd.DataFrame, description: str) -> None:
    """Write a frame column by column; repeated text as codes and the words they stand for."""
    group = file.create_group(name)
    group.attrs["description"] = description
    group.attrs["rows"] = len(table)
    group.attrs["columns"] = json.dumps([str(column) for column in table.columns])
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    for label in table.columns:
        column = table[label]
        options = packed if len(table) > 1000 else {}
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            group.create_dataset(str(label), data=_numbers(column), **options)
            continue
        known = pd.Categorical(column)
        codes, words = known.codes, [_text(word) for word in known.categories]
        dataset = group.create_dataset(str(label), data=codes.astype(np.int32), **options)
        dataset.attrs["words"] = f"{label} words"
        group.create_dataset(f"{label} words", data=np.array(words, dtype=object), dtype=TEXT)


def _numbers(column: pd.Series) -> NDArray[Any]:
    """A numeric column as an array; one with missing integers as floats."""
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _text(value: object) -> str:
    """Text of one cell; nothing for what is missing."""
    if isinstance(value, (list, tuple)):
        return json.dumps(value)
    return "" if value is None or value != value else str(value)


def _copies(analysis: Analysis, file: h5py.File) -> None:
    """Copy the runs' own files, but for damaged ones, which loading the grid has named."""
    files = file.create_group("files")
    files.attrs["description"] = "a copy of every run's results.h5"
    for directory in analysis.runs["directory"].astype(str):
        source = analysis.grid.reader.file(analysis.grid.directory / directory)
        if source is None or directory in files:
            continue
        try:
            with h5py.File(source, "r", locking=False) as run:
                run.copy(run["/"], files, name=directory)
        except (OSError, RuntimeError):
            if directory in files:
                del files[directory]
