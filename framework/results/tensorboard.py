"""TensorBoard event files of a run: scalars, image grids, gin text, hparams and layouts."""

from __future__ import annotations

import io
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG

from framework.results import hparams
from framework.results.event_file import frame
from framework.results.hparams import GridMetric
from framework.results.records import CHOSEN, Changes, Evaluation, RunConfig, SampleKey
from framework.results.storage import explained

_STAMP = re.compile(r"events\.out\.tfevents\.(\d+)\.")


class TensorBoardWriter:
    """Writes what a run records for TensorBoard to read.

    One event holds all scalars of a step. The run is one entry of the hparams page, in its own
    folder (torch's add_hparams would make a second run). Charts that gather the arms are laid out
    under "custom scalars": one for each group of tags and each metric.

    Args:
        directory: where the event files go; each writer makes a new one.
        config: the run's configuration: its gin text, varied settings, arm and seed are shown.
        resume_step: as in `RunWriter`; TensorBoard forgets what was written beyond it.

    Raises:
        StorageError: the folder cannot be written; any method may raise it.
    """

    def __init__(
        self, directory: Path, *, config: RunConfig, resume_step: int | None = None
    ) -> None:
        self._charts: dict[tuple[str, str], str] = {}
        self._new_charts = False
        self._tags: set[str] = set()
        self._ranked_by = GridMetric(config)
        self._last_step = resume_step or 0
        self._events: list[bytes] = []
        with explained(directory):
            directory.mkdir(parents=True, exist_ok=True)
            older = sorted(directory.glob("events.out.tfevents.*"))
            if resume_step == 0:
                for path in older:
                    path.unlink()
                older = []
            self.path = directory / _event_name(older)
            self._file = self.path.open("xb")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        known = any(path.stat().st_size for path in older)
        if resume_step or not known:
            # TensorBoard forgets what is at this step or later; its server heeds only the second
            # such event, so that a new run begins with one, too
            start = SessionLog(status=SessionLog.START)
            step = resume_step + 1 if resume_step else 0
            self._write(Event(wall_time=time.time(), step=step, session_log=start))
        if not known:
            self._describe(config)
        self._flush()

    def write(self, news: Changes) -> None:
        """Writes what was recorded since the last call; readers see it from then on."""
        for step, now, values in _by_step(news.scalars):
            self._write_scalars(step, now, values)
            for tag in values.keys() - self._tags:
                self._chart_of(tag)
        for row in news.evaluations:
            self._evaluation(row)
        for key, samples in news.samples.items():
            self._images(key, samples.images)
        if self._new_charts:
            self._write_layout()
        self._flush()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        with explained(self.path):
            self._file.close()

    def _flush(self) -> None:
        with explained(self.path):
            self._file.write(frame(self._events))
            self._file.flush()
        self._events.clear()

    def _evaluation(self, row: Evaluation) -> None:
        """Writes a measured value under a tag that says what was measured."""
        nfe = "chosen" if row.nfe == CHOSEN else row.nfe
        how = f"nfe={nfe} w={row.w:g} {row.weights} {row.sampler} {row.time_grid}"
        tag = f"evaluation/{row.metric}/{how} {row.samples} samples block {row.block}"
        values = {tag: row.value}
        title = f"{row.metric} ({row.direction} is better)"
        self._chart("evaluations", title, f"evaluation/{row.metric}/")
        mean = self._ranked_by.add(row)
        if mean is not None:
            values[self._ranked_by.tag] = mean
        self._write_scalars(row.step, row.time, values)

    def _images(self, key: SampleKey, images: NDArray[np.uint8]) -> None:
        """Writes uint8 images (n, H, W, 1 or 3) as one grid."""
        if not len(images):
            return
        grid = image_grid(images)
        encoded = io.BytesIO()
        Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(encoded, "PNG")
        height, width, channels = grid.shape
        image = Summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=encoded.getvalue(),
        )
        self._write_values(key.step, [Summary.Value(tag=f"samples/nfe={key.nfe}", image=image)])

    def _describe(self, config: RunConfig) -> None:
        """Writes the configuration as text and the run's one entry of the hparams page."""
        code = "\n".join(f"    {line}" for line in config.gin_text.splitlines())
        self._write_values(0, [_text("config/gin", code, "text")])
        now = time.time()
        self._write(Event(wall_time=now, step=0, summary=hparams.entry(config, now)))

    def _chart_of(self, tag: str) -> None:
        self._tags.add(tag)
        group, slash, _ = tag.rpartition("/")
        self._chart("training", group or tag, group + slash if group else f"{tag}$")

    def _chart(self, category: str, title: str, prefix: str) -> None:
        if (category, title) not in self._charts:
            end = "$" if prefix.endswith("$") else ""
            self._charts[category, title] = f"^{re.escape(prefix.removesuffix('$'))}{end}"
            self._new_charts = True

    def _write_layout(self) -> None:
        whole = layout_pb2.Layout()
        for name in dict.fromkeys(category for category, _ in self._charts):
            category = whole.category.add(title=name)
            for (where, title), pattern in sorted(self._charts.items()):
                if where == name:
                    category.chart.add(title=title).multiline.tag.append(pattern)
        content = _text(CONFIG_SUMMARY_TAG, whole.SerializeToString(), "custom_scalars")
        self._write_values(self._last_step, [content])
        self._new_charts = False

    def _write_scalars(self, step: int, now: float, values: Mapping[str, float]) -> None:
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(wall_time=now, step=step, summary=Summary(value=points)))
        self._last_step = max(self._last_step, step)

    def _write_values(self, step: int, values: list[Any]) -> None:
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        self._events.append(event.SerializeToString())


def _by_step(
    scalars: Mapping[str, Sequence[NDArray[Any]]],
) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Every step in order, with its time and the values of its tags."""
    steps: dict[int, tuple[float, dict[str, float]]] = {}
    for tag, parts in scalars.items():
        for points in parts:
            for step, value, now in points.tolist():
                steps.setdefault(step, (now, {}))[1][tag] = value
    yield from ((step, *steps[step]) for step in sorted(steps))


def image_grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles images (n, H, W, C) row by row into one, (rows H, columns W, C), nearly square."""
    n, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.zeros((rows * columns, height, width, channels), np.uint8)
    grid[:n] = images
    tiles = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return tiles.reshape(rows * height, columns * width, channels)


def _text(tag: str, content: str | bytes, plugin: str) -> Any:
    data = content.encode() if isinstance(content, str) else content
    scalar = plugin != "text"
    shape = TensorShapeProto(dim=[] if scalar else [TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[data])
    kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    return Summary.Value(tag=tag, tensor=tensor, metadata=kind)


def _event_name(older: Sequence[Path]) -> str:
    """A file name that sorts behind all older ones: TensorBoard reads in this order."""
    stamps = [int(match[1]) for path in older if (match := _STAMP.match(path.name))]
    stamp = max([int(time.time()), *(known + 1 for known in stamps)])
    return f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
