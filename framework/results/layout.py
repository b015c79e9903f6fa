"""The layout of results.h5, schema 1, and reading its parts; `publishing` writes it.

/config           attributes: what produced the run (RunConfig), schema_version
/scalars/TAG      table (step, value, time); a tag's slashes make groups
/evaluations      table (step, metric, value, direction, nfe, w, weights, sampler, time_grid,
                  block, samples, time)
/samples/STEP/nfe=N   uint8 images (n, H, W, C), attribute `labels` (n,)
/flight_recorder/NAME one row a step: float (n,), float (n, L) padded with NaN beyond the
                  attribute `lengths`, or text (n,)
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from framework.results.records import (
    SCALAR,
    Evaluation,
    RunConfig,
    RunPlace,
    SampleKey,
    Samples,
    code_state,
)

SCHEMA_VERSION = 1
HDF5_NAME = "results.h5"
JOURNAL_NAME = "results.journal"

JSON_FIELDS = frozenset({"resolved", "varied", "versions", "sources"})
TEXT_COLUMNS = ("metric", "direction", "weights", "sampler", "time_grid")

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, AttributeError)
"""What h5py, numpy and json raise over a file whose bytes are not what was written."""


class NewerSchemaError(Exception):
    """The file was written by a later version of tvmlab than this one."""


def open_published(path: Path) -> h5py.File:
    """Opens a results.h5 for reading, without locks, so that reading never stops a writer.

    Raises:
        FileNotFoundError: there is none.
        NewerSchemaError: a later tvmlab wrote it.
        OSError: it is not HDF5, or damaged.
    """
    file = h5py.File(path, "r", locking=False)
    version = int(file["config"].attrs["schema_version"])
    if version > SCHEMA_VERSION:
        file.close()
        raise NewerSchemaError(
            f"{path}: written with schema {version}, this tvmlab knows {SCHEMA_VERSION}: update it"
        )
    return file


def read_config(file: h5py.File) -> RunConfig:
    """What produced the run, from the attributes of /config; those missing take defaults."""
    attributes = file["config"].attrs
    names = [item.name for item in fields(RunConfig) if item.name in attributes]
    return RunConfig(**_settings(attributes, names, "crc32"))


def read_place(file: h5py.File) -> RunPlace:
    """Where the run stands in its grid: read_config without what is long to read."""
    return RunPlace(**_settings(file["config"].attrs, RunPlace._fields, "place_crc32"))


def read_commit(file: h5py.File) -> str:
    """The code that the run was made with, in words."""
    attributes = file["config"].attrs
    return code_state(*(str(attributes.get(name, "")) for name in ("git_commit", "git_diff")))


def config_attributes(config: RunConfig) -> dict[str, str | int]:
    """The attributes of /config, with checksums: HDF5 keeps none of long texts."""
    values: dict[str, str | int] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        values[item.name] = json.dumps(dict(value)) if item.name in JSON_FIELDS else value
    place = {name: values[name] for name in RunPlace._fields}
    checksums = {"crc32": _checksum(values), "place_crc32": _checksum(place)}
    return {"schema_version": SCHEMA_VERSION, **values, **checksums}


def _settings(
    attributes: h5py.AttributeManager, names: Collection[str], checksum: str
) -> dict[str, Any]:
    values = {name: attributes[name] for name in names}
    values |= {name: int(values[name]) for name in ("seed", "metric_nfe") if name in values}
    if checksum in attributes and attributes[checksum] != _checksum(values):
        raise ValueError("the attributes of /config are not those written")
    return {n: json.loads(v) if n in JSON_FIELDS else v for n, v in values.items()}


def _checksum(values: Mapping[str, str | int]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def journal_position(file: h5py.File) -> tuple[str, int]:
    """The id of the journal that the file was published from, and the byte it holds it up to."""
    attributes = file.attrs
    return str(attributes.get("journal_id", "")), int(attributes.get("journal_bytes", 0))


def tags(file: h5py.File) -> list[str]:
    """The names of all scalars."""
    return datasets(file["scalars"]) if "scalars" in file else []


def datasets(group: h5py.Group) -> list[str]:
    """The paths of all datasets below a group, depth first."""
    return [path for path, _ in _datasets(group.id)]


def _datasets(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    # h5py's low level: three times as fast, and a grid has twenty thousand of these
    for name in group:
        path = prefix + name.decode()
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5d.DatasetID):
            yield path, item
        elif isinstance(item, h5py.h5g.GroupID):
            yield from _datasets(item, path + "/")


def read_scalars(
    file: h5py.File, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every tag, or every wanted one that there is, with its points, (n,) of dtype SCALAR."""
    if "scalars" not in file:
        return
    group = file["scalars"]
    if wanted is None:
        yield from ((tag, _points(item)) for tag, item in _datasets(group.id))
        return
    for tag in dict.fromkeys(wanted):
        item = h5py.h5o.open(group.id, tag.encode()) if tag in group else None
        if isinstance(item, h5py.h5d.DatasetID):
            yield tag, _points(item)


def _points(dataset: Any) -> NDArray[Any]:
    points = np.zeros(dataset.shape, SCALAR)
    if points.size:
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, points)
    return points


def read_evaluation_table(file: h5py.File) -> NDArray[Any] | None:
    """The /evaluations table as stored (text columns as UTF-8 bytes), None where there is none."""
    if "evaluations" not in file:
        return None
    dataset = h5py.h5o.open(file.id, b"evaluations")
    table: NDArray[Any] = np.empty(dataset.shape, dataset.dtype)
    if not table.size:
        return None
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, table)
    return table


def evaluation_rows(table: NDArray[Any] | None) -> list[Evaluation]:
    """The rows of a stored table; a column that an older file lacks takes a default."""
    if table is None:
        return []
    columns = [column(table, name) for name in Evaluation._fields]
    return [Evaluation(*row) for row in zip(*columns, strict=True)]


def column(table: NDArray[Any], name: str) -> list[Any]:
    """One column of a stored table as Python values."""
    values = raw_column(table, name).tolist()
    return [text(value) for value in values] if name in TEXT_COLUMNS else values


def raw_column(table: NDArray[Any], name: str) -> NDArray[Any]:
    """One column as stored, text as UTF-8 bytes; its defaults where an older file lacks it."""
    if name in (table.dtype.names or ()):
        found: NDArray[Any] = table[name]
        return found
    missing = b"" if name in TEXT_COLUMNS else np.nan if name in ("w", "value", "time") else -1
    return np.full(len(table), missing)


def text(value: bytes | str) -> str:
    """A text out of a stored table."""
    return value.decode() if isinstance(value, bytes) else value


def sample_datasets(file: h5py.File) -> dict[SampleKey, h5py.Dataset]:
    """The stored sample images by step and NFE; nothing is read yet."""
    found: dict[SampleKey, h5py.Dataset] = {}
    for step, group in file.get("samples", {}).items():
        for name, dataset in group.items():
            found[SampleKey(int(step), int(name.removeprefix("nfe=")))] = dataset
    return found


def read_samples(dataset: h5py.Dataset) -> Samples:
    """Sample images out of the file, still packed where they were packed by this package."""
    labels = np.asarray(dataset.attrs["labels"], np.int64)
    if dataset.chunks == dataset.shape and dataset.compression == "gzip":
        skipped, packed = dataset.id.read_direct_chunk((0,) * dataset.ndim)
        if not skipped:
            return Samples(packed, dataset.shape, labels)
    return Samples.pack(dataset[()], labels)


def read_flight(file: h5py.File) -> dict[str, NDArray[Any]]:
    """The flight recorder: name -> one row a step (float, padded float, or object text)."""
    if "flight_recorder" not in file:
        return {}
    group = file["flight_recorder"]
    found: dict[str, NDArray[Any]] = {}
    for name in datasets(group):
        data = group[name]
        found[name] = data.asstr()[()] if h5py.check_string_dtype(data.dtype) else data[()]
    return found


def flight_steps(file: h5py.File) -> list[dict[str, Any]]:
    """The flight recorder as it was recorded: one mapping a step."""
    columns = read_flight(file)
    steps: list[dict[str, Any]] = [{} for _ in columns.get("step", ())]
    for name, values in columns.items():
        lengths = file["flight_recorder"][name].attrs.get("lengths")
        for index, (step, value) in enumerate(zip(steps, values.tolist(), strict=True)):
            step[name] = value if lengths is None else value[: int(lengths[index])]
    return steps


def flight_columns(steps: list[Mapping[str, Any]]) -> dict[str, tuple[NDArray[Any], list[int]]]:
    """Per-step mappings as columns: name -> (values, lengths); lengths only for arrays.

    A step that lacks a name has NaN (float), no values (array) or "" (text) there.
    """
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: _flight_column([step.get(name) for step in steps]) for name in names}


def _flight_column(values: list[Any]) -> tuple[NDArray[Any], list[int]]:
    if any(isinstance(value, str) for value in values):
        return np.array(["" if v is None else str(v) for v in values], object), []
    if not any(isinstance(value, list) for value in values):
        return np.array([np.nan if v is None else v for v in values], np.float64), []
    rows = [v if isinstance(v, list) else [] if v is None else [v] for v in values]
    padded = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, value in zip(padded, rows, strict=True):
        row[: len(value)] = value
    return padded, [len(row) for row in rows]
