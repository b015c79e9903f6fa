"""Making a new results.h5 out of the published one and the changes since.

The file is built in memory and then written by plain calls: HDF5 that meets a full disk leaves
objects it cannot close and may end the process with a segmentation fault; a plain write raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from framework.results import layout
from framework.results.records import (
    Changes,
    Evaluation,
    RunConfig,
    SampleKey,
    Samples,
    merge_evaluations,
    merge_scalars,
)

_COMPACT_BYTES = 60_000  # an object header holds 64 KB
_CHUNK_ROWS = 16_384
_FORMAT = ("v110", "v110")  # checksummed headers, attributes over 64 KB, read by HDF5 1.10 on

_ABOUT = """\
One training run of tvmlab. /config: attributes that say what produced it. /scalars/TAG: a table
(step, value, time) for each logged scalar. /evaluations: a table of measured metrics.
/samples/STEP/nfe=N: images drawn from fixed latents and classes. /flight_recorder: the last steps
before a divergence. Steps count completed optimizer steps, times are Unix seconds."""

_SCALAR_COLUMNS = {
    "step": "completed optimizer steps",
    "value": "as logged; NaN and infinities included",
    "time": "Unix seconds at logging",
}
_EVALUATION_COLUMNS = {
    "step": "completed optimizer steps",
    "metric": "name of the metric",
    "value": "the measured value",
    "direction": "lower or higher: which is better",
    "nfe": "network function evaluations per sample; -1 where the sampler chose: see metric nfe",
    "w": "guidance weight; NaN without guidance",
    "weights": "which weights sampled: trained, or an average",
    "sampler": "name of the sampler",
    "time_grid": "times of the sampling steps; time 1 is noise",
    "block": "number of the disjoint block of draws",
    "samples": "how many samples were drawn",
    "time": "Unix seconds at logging",
}


def build(base: h5py.File | None, changes: Changes, journal: tuple[str, int]) -> bytes:
    """The bytes of a results.h5: what `base` holds, with the changes applied.

    Args:
        base: the published file (None: there is none).
        changes: everything since; without a base they hold a configuration.
        journal: id and length in bytes of the journal that is now in the file.

    Raises:
        what `layout.DAMAGE` lists, if `base` is damaged.
    """
    config = changes.config if changes.config or base is None else layout.read_config(base)
    if config is None:
        raise ValueError("neither the file nor the journal holds a configuration")
    core = {"driver": "core", "backing_store": False, "libver": _FORMAT}
    with h5py.File(f"results-{journal[0]}", "w", **core) as file:
        file.attrs["about"] = _ABOUT
        file.attrs["journal_id"], file.attrs["journal_bytes"] = journal
        _write_config(file.create_group("config"), config)
        _write_scalars(file.create_group("scalars"), base, changes)
        _write_evaluations(file, base, changes)
        _write_samples(file.create_group("samples"), base, changes)
        _write_flight(file.create_group("flight_recorder"), base, changes)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _write_config(group: h5py.Group, config: RunConfig) -> None:
    for name, value in layout.config_attributes(config).items():
        group.attrs[name] = value


def _write_scalars(group: h5py.Group, base: h5py.File | None, changes: Changes) -> None:
    _describe(group, _SCALAR_COLUMNS)
    pending = dict(changes.scalars)
    for tag, stored in layout.read_scalars(base) if base is not None else ():
        points = merge_scalars(stored, pending.pop(tag, []), changes.keep)
        if len(points):
            _write_table(group, tag, points)
    for tag, parts in pending.items():
        _write_table(group, tag, merge_scalars(None, parts, None))


def _write_evaluations(file: h5py.File, base: h5py.File | None, changes: Changes) -> None:
    table = None if base is None else layout.read_evaluation_table(base)
    rows = merge_evaluations(layout.evaluation_rows(table), changes.evaluations, changes.keep)
    _write_table(file, "evaluations", evaluation_table(rows))
    _describe(file["evaluations"], _EVALUATION_COLUMNS)


def evaluation_table(rows: Sequence[Evaluation]) -> NDArray[Any]:
    """The rows as a structured array; text as UTF-8 bytes, as wide as its longest value."""

    def width(name: str) -> int:
        return max([1, *(len(getattr(row, name).encode()) for row in rows)])

    numbers = {"value": "<f8", "w": "<f8", "time": "<f8", "nfe": "<i4", "block": "<i4"}
    dtype = [
        (name, h5py.string_dtype("utf-8", width(name)))
        if name in layout.TEXT_COLUMNS
        else (name, numbers.get(name, "<i8"))
        for name in Evaluation._fields
    ]
    encoded = [tuple(v.encode() if isinstance(v, str) else v for v in row) for row in rows]
    return np.array(encoded, np.dtype(dtype))


def _write_samples(group: h5py.Group, base: h5py.File | None, changes: Changes) -> None:
    group.attrs["about"] = "STEP/nfe=N: uint8 images (n, H, W, C); attribute labels: classes (n,)"
    for key, stored in layout.sample_datasets(base).items() if base is not None else ():
        if key not in changes.samples and (changes.keep is None or key.step <= changes.keep):
            stored.file.copy(stored, group.require_group(str(key.step)), name=f"nfe={key.nfe}")
    for key, samples in changes.samples.items():
        _write_images(group, key, samples)


def _write_images(group: h5py.Group, key: SampleKey, samples: Samples) -> None:
    name = f"{key.step}/nfe={key.nfe}"
    if 0 in samples.shape:
        dataset = group.create_dataset(name, samples.shape, np.uint8)
    else:
        # one chunk in the journal's own compression: nothing is packed twice
        options = {"chunks": samples.shape, "compression": "gzip"}
        dataset = group.create_dataset(name, samples.shape, np.uint8, **options)
        dataset.id.write_direct_chunk((0,) * len(samples.shape), samples.packed)
    dataset.attrs["labels"] = samples.labels


def _write_flight(group: h5py.Group, base: h5py.File | None, changes: Changes) -> None:
    group.attrs["about"] = "one row a step; lengths: how many values of a padded row are real"
    if changes.flight is not None:
        for name, (values, lengths) in layout.flight_columns(list(changes.flight)).items():
            text = values.dtype == object
            dtype = h5py.string_dtype() if text else values.dtype
            dataset = group.create_dataset(name, data=values, dtype=dtype)
            if lengths:
                dataset.attrs["lengths"] = lengths
    elif base is not None and "flight_recorder/step" in base:
        last = np.inf if changes.keep is None else changes.keep
        kept = base["flight_recorder/step"][()] <= last
        for name in layout.datasets(base["flight_recorder"]) if kept.any() else ():
            stored = base["flight_recorder"][name]
            dataset = group.create_dataset(name, data=stored[()][kept], dtype=stored.dtype)
            if "lengths" in stored.attrs:
                dataset.attrs["lengths"] = stored.attrs["lengths"][kept]


def _write_table(group: h5py.Group, name: str, rows: NDArray[Any]) -> None:
    """Small tables go into the object header and large ones in chunks: both are checksummed."""
    if not rows.nbytes:
        group.create_dataset(name, data=rows)
        return
    if rows.nbytes > _COMPACT_BYTES:
        chunk = (min(_CHUNK_ROWS, len(rows)),)
        group.create_dataset(name, data=rows, chunks=chunk, fletcher32=True)
        return
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_layout(h5py.h5d.COMPACT)
    link = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    link.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(rows.dtype, logical=True)
    space = h5py.h5s.create_simple(rows.shape)
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space, create, lcpl=link)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, rows)


def _describe(item: h5py.Group | h5py.Dataset, columns: Mapping[str, str]) -> None:
    for name, meaning in columns.items():
        item.attrs[f"column {name}"] = meaning
