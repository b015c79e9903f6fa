"""The code travels: what is edited after a launch changes nothing that was launched."""

import importlib
import os
import shutil
import subprocess
import sys

from framework.launching import snapshots
from tests.framework.launching.conftest import (
    REPOSITORY,
    act,
    results,
    run_all,
    states,
    toy_plan,
    until,
)

EDITED = "components/samplers/grid.py"
LAUNCH = """
import sys
from pathlib import Path
from framework.launching.launch import launch
from tests.framework.launching.conftest import options, toy_plan
runner = "tests.framework.launching.sources:run"
launch(toy_plan(), Path(sys.argv[1]), options(runner=runner, parallel=1))
"""


def test_edits_after_a_launch_change_nothing(tmp_path, grid, undisturbed):
    tree = tmp_path / "tree"
    for name in (*snapshots.PACKAGES, "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tree / name, ignore=ignored)
    act(grid, {"target_decay=0.9": {"wait": 3}})
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", LAUNCH, str(grid)]
    subprocess.run(command, cwd=tree, env=environment, check=True)
    until(lambda: "running" in states(grid).values(), "a run")
    assert list(states(grid).values()).count("queued") == 3
    before = (tree / EDITED).read_text()
    (tree / EDITED).write_text(f"{before}\nraise RuntimeError('edited')\n")
    (tree / "framework/launching/worker.py").unlink()
    (grid / "go").touch()
    until(lambda: set(states(grid).values()) == {"done"}, "the grid")
    assert results(grid) == undisturbed
    assert {path.read_text() for path in grid.glob("*/*/imported.py")} == {before}
    (kept,) = (grid / snapshots.CODE).iterdir()
    assert (kept / EDITED).read_text() == before


def test_a_snapshot_is_shared_until_something_changes(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    (tree / "framework/report/templates").mkdir(parents=True)
    (tree / "framework/a.py").write_text("a")
    (tree / "framework/report/templates/page.html").write_text("<html>")
    (tree / "framework/__pycache__").mkdir()
    (tree / "framework/__pycache__/a.pyc").write_text("x")
    (tree / "components").mkdir()
    monkeypatch.setattr(snapshots, "OWN", tree)
    first, new = snapshots.keep_code(tmp_path)
    assert new
    found = sorted(str(p.relative_to(first)) for p in first.rglob("*") if p.is_file())
    assert found == ["framework/a.py", "framework/report/templates/page.html", "provenance.json"]
    assert snapshots.keep_code(tmp_path) == (first, False)
    (tree / "components/untracked.py").write_text("b")
    second, new = snapshots.keep_code(tmp_path)
    assert new
    assert second != first
    assert (second / "components/untracked.py").read_text() == "b"


def test_a_plugin_travels_with_the_folders_that_it_imports_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    texts = {
        "code_plugin.py": "import code_plain.deep.inner, code_package",
        "code_plain/deep/inner.py": "A = 1",
        "code_package/__init__.py": "",
        "code_unused/other.py": "",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    try:
        importlib.import_module("code_plugin")
        found = snapshots.plugin_files(["code_plugin"])
    finally:
        for name in [n for n in sys.modules if n.startswith("code_p")]:
            del sys.modules[name]
    del texts["code_unused/other.py"]
    assert found == texts


def test_installed_packages_are_copied_without_gin_configs(tmp_path, monkeypatch):
    tree = tmp_path / "lib/site-packages"
    for name in ("framework", "gin", "torch"):
        (tree / name).mkdir(parents=True)
        (tree / name / "__init__.py").write_text(name)
    monkeypatch.setattr(snapshots, "OWN", tree)
    kept, _ = snapshots.keep_code(tmp_path)
    assert sorted(p.name for p in kept.iterdir()) == ["framework", "provenance.json"]


def test_a_grid_folder_holds_one_copy_however_often_it_is_launched(planned, grid):
    run_all(planned, grid)
    run_all(toy_plan("train.steps = 14"), grid)
    assert len(list((grid / snapshots.CODE).iterdir())) == 1
