import io
import json
import re
import string
from dataclasses import replace
from html.parser import HTMLParser

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from framework.report import Arm, analyse, print_ranking, write_report

from .synthetic import Truth, build, four_arms, many_arms

GRIDS = {
    "one arm": lambda: build(Truth(effects={"plain": 0.0})),
    "one run": lambda: build(Truth(effects={"plain": 0.0}, seeds=1, evaluations=1, nfes=(1,))),
    "four arms": four_arms,
    "forty arms": lambda: many_arms(40),
    "tuned": lambda: build(Truth(effects={"a": 0.0, "b": 1.0}, variants=("1e-3", "2e-3"))),
    "all lost": lambda: build(Truth(effects={"a": 0.0}, diverged={("a", s): 50 for s in range(3)})),
}


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags close."""

    VOID = ("meta", "img", "br", "line", "circle", "polygon", "polyline")

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.links, self.ids, self.text = [], [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.sources += [found["src"]] if "src" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.ids |= {found["id"]} if "id" in found else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("name", GRIDS)
def test_every_form_is_written(name, tmp_path):
    analysis = analyse(GRIDS[name]())
    paths = write_report(analysis, tmp_path / "report")
    page = Page(paths.html.read_text())
    assert not page.open
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert len(page.sources) == len(paths.pictures)
    assert not re.search(r"https?://|<script|@import", paths.html.read_text())
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors and anchors <= page.ids
    for arm in analysis.ranking.index:
        assert arm in "".join(page.text)
        assert arm in paths.markdown.read_text()
    for picture in paths.pictures:
        with Image.open(picture) as image:
            assert image.width > 400 and image.convert("L").getextrema() != (255, 255)
        assert f"]({picture.name})" in paths.markdown.read_text()


def test_each_number_leads_to_its_runs(tmp_path):
    grid = four_arms()
    paths = write_report(analyse(grid), tmp_path)
    page = Page(paths.html.read_text())
    for directory in grid.runs["directory"]:
        assert any(link.endswith(f"{directory}/config.gin") for link in page.links)
        assert any(link.endswith(f"{directory}/log.txt") for link in page.links)
    commands = re.findall(r"python launch/train\.py --gin [^<]+", paths.html.read_text())
    assert len(commands) >= 20
    (explained,) = re.findall(r"python launch/explain\.py ([^<]+)", paths.html.read_text())
    assert explained.startswith("runs/synthetic/decay=0/seed=1-")
    assert "commit" in "".join(page.text) and "0123456789" in "".join(page.text)


def test_an_interaction_of_two_levels_is_told_once(tmp_path):
    levels = {"m.a": ("1", "2"), "m.b": ("@x.p()", "@x.q()", "@x.r()")}
    settings = {f"a={a},b={b}": {"m.a": a, "m.b": b} for a in levels["m.a"] for b in levels["m.b"]}
    effects = {arm: float(k % 4) for k, arm in enumerate(settings)}
    grid = build(Truth(effects=effects, settings=settings, axes=levels))
    text = write_report(analyse(grid), tmp_path).markdown.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| a = ")]
    assert sorted(row.split("|")[1].strip() for row in rows) == [
        "a = 1, b = p", "a = 1, b = q", "a = 1, b = r",
    ]  # fmt: skip


def test_an_interaction_that_lacks_a_cell_is_said_to_be_open(tmp_path):
    levels = {"m.a": ("1", "2"), "m.b": ("3", "4")}
    cells = [("1", "3"), ("1", "4"), ("2", "3")]
    settings = {f"a={a},b={b}": {"m.a": a, "m.b": b} for a, b in cells}
    effects = {arm: float(k) for k, arm in enumerate(settings)}
    paths = write_report(analyse(build(Truth(effects, settings=settings, axes=levels))), tmp_path)
    for text in (paths.markdown.read_text(), paths.html.read_text()):
        assert "m.a x m.b cannot be estimated." in text
        assert not re.search(r"\bnan\b", text)
        assert "beyond the sum of both" not in text, "a table without a row"


def test_names_are_escaped_in_every_form(tmp_path):
    name = "a_b|<i>&%$#"
    grid = build(Truth(effects={"base": 0.0, name: 1.0}))
    grid = replace(
        grid, arms=tuple(Arm(arm.name, {"m.x": f"'{arm.name}'"}) for arm in grid.arms),
        description="50 % & more_less",
    )  # fmt: skip
    paths = write_report(analyse(grid), tmp_path)
    assert "<i>" not in paths.html.read_text()
    assert name in "".join(Page(paths.html.read_text()).text)
    assert "a_b\\|<i>" in paths.markdown.read_text()
    tex = paths.latex.read_text()
    assert r"a\_b\textbar{}$<$i$>$\&\%\$\#" in tex and r"50 \% \& more\_less" in tex
    assert name in pd.read_csv(paths.csv)["arm"].tolist()


def test_latex_is_a_booktabs_table(tmp_path):
    tex = write_report(analyse(four_arms()), tmp_path / "four").latex.read_text()
    assert [tex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 5 and {row.count("&") for row in rows} == {6}
    assert tex.count("{") == tex.count("}")
    assert r"\textbf{" in tex and not set(tex) - set(string.printable)
    assert "standard deviation over up to 5 seeds" in tex, "one arm lost a run"
    many = write_report(analyse(many_arms(48)), tmp_path / "many").latex.read_text()
    assert "standard deviation over 3 seeds" in many
    assert r"\begin{longtable}" in many and r"\end{longtable}" in many


def test_csv_has_full_precision_settings_and_folders(tmp_path):
    analysis = analyse(four_arms())
    table = pd.read_csv(write_report(analysis, tmp_path).csv, index_col="arm")
    np.testing.assert_allclose(table["mean"], analysis.ranking["mean"], rtol=1e-14)
    assert table.loc["decay=0", "unpaired"] == "1" or table.loc["decay=0", "unpaired"] == 1
    assert len(table.loc["decay=0.9", "directories"].split()) == 5
    assert "losses.tvm.target_decay" in table


def test_archive_holds_the_whole_grid(tmp_path):
    grid = four_arms()
    analysis = analyse(grid)
    with h5py.File(write_report(analysis, tmp_path).archive) as file:
        assert json.loads(file.attrs["arms"])["decay=0"] == {"losses.tvm.target_decay": "decay=0"}
        assert file["results"].attrs["rows"] == len(grid.frame)
        np.testing.assert_array_equal(file["results/value"][()], grid.frame["value"])
        words = file["results/arm words"].asstr()[()]
        assert words[file["results/arm"][()]].tolist() == grid.frame["arm"].tolist()
        np.testing.assert_allclose(file["ranking/mean"][()], analysis.ranking["mean"])
        assert file["runs"].attrs["rows"] == 20


def test_terminal_table_is_plain_in_a_pipe():
    stream = io.StringIO()
    print_ranking(analyse(four_arms()), stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert [line.split()[1] for line in text.splitlines()[2:6]] == [
        "decay=0.999", "decay=0.99", "decay=0.9", "decay=0",
    ]  # fmt: skip
    assert "diverged: seed 1 at step 120" in text


def test_the_same_grid_gives_the_same_files(tmp_path):
    first = write_report(analyse(four_arms()), tmp_path / "a" / "report")
    again = write_report(analyse(four_arms()), tmp_path / "b" / "report")
    for name in ("markdown", "latex", "csv"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes()
