"""Changes to graphs of compiled steps."""

from pathlib import Path

from framework.training import graph_passes
from framework.training.graph_kept import Kept
from framework.training.graph_passes import LeanGraph


def test_the_compilers_cache_knows_what_is_kept():
    kept = Kept(), Kept(heads=True), Kept(weights=False)
    assert len({LeanGraph(each).uuid() for each in kept}) == 3


def test_the_compilers_cache_knows_what_graphs_follow_from(monkeypatch, tmp_path):
    names = {Path(each).name for each in graph_passes.sources()}
    assert {"graph_passes.py", "graph_joins.py", "graph_nodes.py", "gelu.py"} <= names
    before = LeanGraph(Kept()).uuid()
    changed = tmp_path / "changed.py"
    changed.write_text("another reverse rule")
    monkeypatch.setattr(graph_passes, "sources", lambda: (str(changed),))
    assert LeanGraph(Kept()).uuid() != before
