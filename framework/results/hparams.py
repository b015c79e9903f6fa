"""A run as one entry of TensorBoard's hparams page, and the metric that its grid ranks by."""

from __future__ import annotations

from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from framework.results.names import plain_metric, plain_setting
from framework.results.records import CHOSEN, Evaluation, RunConfig

METRIC_TAG = "ranked by/"

_TYPES = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
_OTHERS = api_pb2.DATA_TYPE_FLOAT64


def entry(config: RunConfig, now: float) -> Summary:
    """The run's entry, and for a run of a grid the columns of the page.

    The page takes its columns from the first run that declares them, so every run of a grid
    declares the same: the varied settings, and the grid's metric as the only one. Without that
    each of the hundreds of scalars is a column.
    """
    varied = {name: plain_setting(value) for name, value in config.varied.items()}
    values = {**varied, "arm": config.arm, "seed": config.seed}
    trial = f"{config.grid}/{config.arm}/seed={config.seed}-{config.identity}"
    started = SessionStartInfo(group_name=trial, start_time_secs=now)
    for name, value in values.items():
        kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else None
        setattr(started.hparams[name], f"{kind or 'number'}_value", value)
    parts = [_part(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=started))]
    if config.metric:
        page = _page(config, values, now)
        parts.append(_part(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=page)))
    return Summary(value=parts)


def _page(config: RunConfig, values: Mapping[str, object], now: float) -> api_pb2.Experiment:
    at = f" at {config.metric_nfe} NFE" if config.metric_nfe else ""
    name = api_pb2.MetricName(tag=METRIC_TAG + config.metric)
    return api_pb2.Experiment(
        time_created_secs=now,
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=_TYPES.get(type(value), _OTHERS))
            for name, value in values.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=name, display_name=config.metric + at)],
    )


def _part(tag: str, content: HParamsPluginData) -> Summary.Value:
    content.version = metadata.PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=content.SerializeToString()
    )
    kind = SummaryMetadata(plugin_data=plugin)
    return Summary.Value(tag=tag, metadata=kind, tensor=metadata.NULL_TENSOR)


class GridMetric:
    """The grid's metric as one scalar: the mean over the blocks of an evaluation.

    Where a run evaluates it in several ways (guidance weights, averages, samplers, sizes; NFEs
    where the grid names none or the sampler chooses), the first one counts.
    """

    def __init__(self, config: RunConfig) -> None:
        self._metric, self._nfe = config.metric, config.metric_nfe
        self._way: tuple[object, ...] | None = None
        self._step = -1
        self._blocks: dict[int, float] = {}
        self.tag = METRIC_TAG + config.metric

    def add(self, row: Evaluation) -> float | None:
        """The mean over the blocks so far, or None where the row is not of the grid's metric."""
        if not self._metric or self._metric not in (row.metric, plain_metric(row.metric)):
            return None
        if self._nfe and row.nfe not in (self._nfe, CHOSEN):
            return None
        how = (str(row.w), row.weights, row.sampler, row.time_grid)
        way = (row.metric, row.nfe, row.samples, *how)
        self._way = self._way or way
        if way != self._way:
            return None
        if row.step != self._step:
            self._step, self._blocks = row.step, {}
        self._blocks[row.block] = row.value
        return sum(self._blocks.values()) / len(self._blocks)
