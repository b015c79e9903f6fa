"""The grids of the paper: every file plans at every scale, and every arm can be built."""

import re
from pathlib import Path

import pytest

from framework.configuration import Configuration
from framework.grid.plan import plan
from framework.training.experiment import Experiment
from tests.components.datasets.idx_files import write_clothes
from tests.components.datasets.latents_files import write_latents

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "gin/ablations"
SCALE = "include '../digits.gin'"
TABLES = sorted(path for path in FOLDER.glob("*.gin") if SCALE in path.read_text())
FINDINGS = sorted((ROOT / "gin/findings").glob("[0-9]*.gin"))
WANTED = {
    *("table3_trunc", "table3_clamp", "table3_gap", "table4a", "table4b", "table4c", "table4d"),
    *("figure4", "figure5", "figure7", "figure9", "figure10"),
}
PUBLISHED = {  # numbers of the paper that a file's opening comment has to name, in their order
    "table3_trunc": "4.59 4.00 4.01 7.88 3.70",
    "table3_clamp": "3.88 4.11 4.00 3.66 3.83",
    "table3_gap": "5.12 3.72 3.95 3.82 3.94",
    "table4a": "9.37 6.66 5.14 4.81",
    "table4b": "10.24 5.08 4.90 6.04",
    "table4c": "3.72 3.35 3.82 3.27 6.04 4.60 9.32 7.02",
    "table4d": "3.72 3.35 3.91 3.18 3.88 2.97 3.97 3.07",
    "figure9": "3.44 3.36",
    "figure10": "0.81 46.7 0.95 71.4 0.86 59.5 0.69 55.7",
}


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """A folder with Fashion-MNIST's files, of twenty images."""
    return write_clothes(tmp_path_factory.mktemp("clothes"))


def at_scale(table, scale, folder):
    """The table's file with its one line changed."""
    text = table.read_text()
    assert text.count("include") == 1
    path = folder / table.name
    path.write_text(text.replace(SCALE, f"include '{ROOT / 'gin' / scale}'"))
    return path


def checked(path, sets=()):
    planned = plan(Configuration.load([path], sets), path.stem)
    arms = {cell.arm: cell for cell in planned.cells}
    for cell in arms.values():
        Experiment.build(cell.resolved).check()
    return planned


def test_every_table_and_figure_has_a_file():
    assert {path.stem for path in TABLES} >= WANTED


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_a_grid_is_named_like_its_file_and_says_how_to_run_it(table):
    planned = checked(table)
    assert planned.name == table.stem
    assert (
        f"gin/ablations/{table.name}" in table.read_text() or "make ablation" in table.read_text()
    )
    assert planned.grid.description
    assert len(planned.arms) > 1


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_it_runs_on_fashion_mnist_when_one_line_changes(table, clothes, tmp_path):
    path = at_scale(table, "fashion_mnist.gin", tmp_path)
    small = checked(table)
    large = checked(path, [f"datasets.fashion_mnist.path = {str(clothes)!r}"])
    assert [arm.name for arm in large.arms] == [arm.name for arm in small.arms]
    assert {cell.resolved.settings["train.batch_size"] for cell in large.cells} == {256}


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    """A file of two latents of 256x256 images."""
    path = tmp_path_factory.mktemp("latents") / "latents.h5"
    return write_latents(path, count=2, resolution=32, classes=1000)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_it_runs_on_imagenet_when_one_line_changes(table, latents, tmp_path):
    """All but the FID, which needs weights that only its user can fetch."""
    path = at_scale(table, "imagenet256_ablations.gin", tmp_path)
    sets = [f"datasets.latents.path = {str(latents)!r}", "datasets.latents.vae = None"]
    large = checked(path, [*sets, "evaluation.metrics = ()"])
    settings = [cell.resolved.settings for cell in large.cells]
    assert {s["models.dit.hidden_size"] for s in settings} == {1152}
    if table.stem != "figure10":
        assert {(s["train.steps"], s["train.batch_size"]) for s in settings} == {(200_000, 1024)}


@pytest.mark.parametrize(
    "table", [path for path in TABLES if path.stem in WANTED], ids=lambda path: path.stem
)
def test_it_is_a_lab_note(table):
    note = re.sub(r"\n#? *", " ", re.split(r"\n(?!#)", table.read_text())[0])
    kind, number = re.fullmatch(r"(table|figure)(\d+[a-d]?)(?:_\w+)?", table.stem).groups()
    assert note.startswith(f"# {kind.capitalize()} {number}")
    for part in ("Published", "Expected: ", "Wall time (", f"--gin gin/ablations/{table.name}"):
        assert part in note
    numbers = re.findall(r"\d+\.\d+", note[note.index("Published") : note.index("Expected")])
    wanted = PUBLISHED.get(table.stem, "").split()
    assert [n for n in numbers if n in wanted] == wanted


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: path.stem)
def test_a_finding_claims_something_of_arms_that_it_has(finding):
    planned = plan(Configuration.load([finding]), finding.stem)
    assert planned.grid.claims
    for claim in planned.grid.claim_list:
        assert claim.relation == "below" or {claim.arm, claim.than} <= {
            a.name for a in planned.arms
        }


@pytest.mark.parametrize("finding", FINDINGS[:-1], ids=lambda path: path.stem)
def test_a_finding_compares_arms_of_five_seeds_on_fashion_mnist(finding, clothes):
    planned = checked(finding, [f"datasets.fashion_mnist.path = {str(clothes)!r}"])
    assert planned.name == finding.stem
    assert len(planned.arms) > 1 and len(planned.cells) == 5 * len(planned.arms)
    assert {c.resolved.settings["train.dataset"].selector for c in planned.cells} == {
        "datasets.fashion_mnist"
    }
    assert f"gin/findings/{finding.name}" in finding.read_text()


def test_the_bound_of_theorem_1_is_planned_in_the_plane():
    assert "wasserstein_bound.gin" in FINDINGS[-1].read_text()
    planned = checked(FOLDER / "wasserstein_bound.gin")
    assert {cell.resolved.settings["train.dataset"].selector for cell in planned.cells} == {
        "datasets.gaussian_mixture"
    }
    assert len(planned.arms) == 5


@pytest.mark.parametrize("size", ["s", "b", "l", "xl"])
def test_a_size_is_one_more_file(size):
    paths = [ROOT / "gin/digits.gin", ROOT / f"gin/sizes/{size}.gin"]
    Experiment.build(Configuration.load(paths).resolve()).check()
