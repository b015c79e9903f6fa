"""What TensorBoard reads: its own readers, and its server over loopback."""

import io
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as reference
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from framework.results import RunWriter
from framework.results.event_file import masked_crc32c
from framework.results.tensorboard import image_grid
from tests.results.results_support import evaluate, make_config, record_step, value_at
from tests.tensorboard_server import ask, serve


def write(directory, first=1, last=20, resume_step=None, **config):
    options = {"resume_step": resume_step, "tensorboard": True}
    with RunWriter(directory, config=make_config(**config), **options) as writer:
        for step in range(first, last + 1):
            record_step(writer, step)


def events(directory):
    everything = {"scalars": 0, "tensors": 0, "images": 0}
    return EventAccumulator(str(directory / "tensorboard"), everything).Reload()


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_checksums_agree_with_tensorboards_own(texts):
    for text in texts:
        rows = np.frombuffer(text * 2, np.uint8).reshape(2, -1)
        assert masked_crc32c(rows).tolist() == [reference(text)] * 2


def test_scalars_images_and_text(tmp_path):
    write(tmp_path, gin_text="train.steps = 10\nlosses.tvm.guidance = @guidances.cfg()\n")
    found = events(tmp_path)
    points = found.Scalars("loss/total")
    assert [point.step for point in points] == list(range(1, 21))
    expected = [value_at("loss/total", point.step) for point in points]
    np.testing.assert_allclose([point.value for point in points], expected, rtol=1e-6)
    tag = "evaluation/fd/nfe=1 w=1.5 ema_0.999 n_step uniform 1000 samples block 1"
    assert [point.step for point in found.Scalars(tag)] == [5, 10, 15, 20]
    image = found.Images("samples/nfe=1")[-1]
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert (image.step, pixels.shape, pixels.max()) == (20, (6, 4, 3), 20)
    text = found.Tensors("config/gin")[0].tensor_proto.string_val[0].decode()
    assert text.splitlines()[1] == "    losses.tvm.guidance = @guidances.cfg()"


def test_one_hparams_entry_in_the_runs_own_folder(tmp_path):
    varied = {"decay": "0.99", "sampler": "@gap()", "compile": True, "shape": [1, 2]}
    write(tmp_path, varied=varied, seed=7)
    write(tmp_path, 21, 25, resume_step=20, varied=varied, seed=7)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["tensorboard"]
    assert not [path for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()]
    found = events(tmp_path)
    assert len(found.Tensors("_hparams_/session_start_info")) == 1
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["decay"].number_value == 0.99
    assert hparams["seed"].number_value == 7
    assert hparams["compile"].bool_value is True
    assert hparams["shape"].string_value == "[1, 2]"
    assert hparams["sampler"].string_value == "@gap()"


def test_layouts_gather_the_arms(tmp_path):
    write(tmp_path)
    proto = events(tmp_path).Tensors("custom_scalars__config__")[-1].tensor_proto
    layout = layout_pb2.Layout.FromString(proto.string_val[0])
    charts = {
        (category.title, chart.title): list(chart.multiline.tag)
        for category in layout.category
        for chart in category.chart
    }
    assert set(charts) == {
        ("training", "loss"),
        ("training", "lr"),
        ("evaluations", "fd (lower is better)"),
    }
    (pattern,) = charts["training", "loss"]
    assert re.match(pattern, "loss/total")
    assert not re.match(pattern, "lr")
    (pattern,) = charts["training", "lr"]
    assert re.match(pattern, "lr")


@pytest.mark.parametrize(("resume_step", "first"), [(12, 13), (0, 1)])
def test_a_resumed_run_has_no_doubles(tmp_path, resume_step, first):
    write(tmp_path)
    write(tmp_path, first, 25, resume_step=resume_step)
    found = events(tmp_path)
    for tag in ("loss/total", "lr"):
        assert [point.step for point in found.Scalars(tag)] == list(range(1, 26))
    assert [image.step for image in found.Images("samples/nfe=1")] == [10, 20]
    assert len(found.Tensors("config/gin")) == 1


def test_the_grids_metric_is_the_mean_over_blocks_of_one_way_to_measure(tmp_path):
    with RunWriter(tmp_path, config=make_config(), tensorboard=True) as writer:
        for step in (5, 10):
            for block, value in enumerate((1.0, 2.0, 6.0)):
                evaluate(writer, step, value + step, block=block, metric="fd@01ab")
                if block == 1:
                    writer.flush()
            evaluate(writer, step, 99.0, metric="fd@01ab", nfe=2)
            evaluate(writer, step, 99.0, metric="fd@01ab", weights="trained")
            evaluate(writer, step, 99.0, metric="agreement")
    last = {event.step: event.value for event in events(tmp_path).Scalars("ranked by/fd")}
    assert last == {5: 8.0, 10: 13.0}


def test_a_run_of_no_grid_declares_no_columns(tmp_path):
    write(tmp_path, metric="")
    found = events(tmp_path)
    assert "_hparams_/experiment" not in found.summary_metadata
    assert not [tag for tag in found.Tags()["scalars"] if tag.startswith("ranked by")]


def test_image_grid_tiles_row_by_row():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    grid = image_grid(images)
    assert grid.shape == (4, 6, 1)
    assert grid[::2, ::2, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A TensorBoard server over loopback on the runs of a small grid; its address."""
    tmp_path = tmp_path_factory.mktemp("runs")
    for arm, seed in itertools.product(("a", "b"), range(2)):
        write(tmp_path / arm / f"seed={seed}", arm=arm, seed=seed, varied={"decay": arm})
    write(tmp_path / "a" / "seed=0", 11, 30, resume_step=10, arm="a", varied={"decay": "a"})
    with serve(tmp_path) as address:
        yield address


def test_a_real_server_shows_the_grid(server):
    runs = ["a/seed=0", "a/seed=1", "b/seed=0", "b/seed=1"]
    runs = [f"{run}/tensorboard" for run in runs]
    assert sorted(ask(server, "runs")) == runs
    tags = ask(server, "plugin/scalars/tags")
    assert "loss/total" in tags[runs[0]]
    points = ask(server, f"plugin/scalars/scalars?run={runs[0]}&tag=loss%2Ftotal")
    assert [step for _, step, _ in points] == list(range(1, 31))
    assert list(ask(server, "plugin/images/tags")[runs[1]]) == ["samples/nfe=1"]
    assert "config/gin" in ask(server, "plugin/text/tags")[runs[0]]
    titles = [
        category["title"] for category in ask(server, "plugin/custom_scalars/layout")["category"]
    ]
    assert titles == ["training", "evaluations"]


def test_its_hparams_page_has_the_grids_metric_as_its_only_one(server):
    experiment = ask(server, "plugin/hparams/experiment", {"hparamsLimit": 10})
    assert {info["name"] for info in experiment["hparamInfos"]} == {"arm", "seed", "decay"}
    (metric,) = experiment["metricInfos"]
    assert metric["name"] == {"group": "", "tag": "ranked by/fd"}
    assert metric["displayName"] == "fd at 1 NFE"
    request = {"allowedStatuses": ["STATUS_UNKNOWN"], "sliceSize": 100}
    request["colParams"] = [{"metric": metric["name"], "order": "ORDER_ASC"}]
    groups = ask(server, "plugin/hparams/session_groups", request)
    assert groups["totalSize"] == 4
    (sessions,) = {len(group["sessions"]) for group in groups["sessionGroups"]}
    assert sessions == 1
    shown = {g["sessions"][0]["name"]: g["metricValues"][0] for g in groups["sessionGroups"]}
    assert shown["a/seed=1/tensorboard"]["value"] == pytest.approx(value_at("fd", 20), rel=1e-6)
    assert shown["a/seed=0/tensorboard"]["trainingStep"] == 30
