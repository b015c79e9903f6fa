"""What code a component is made of: what it imports of its own, and nothing else."""

import sys
from pathlib import Path

import pytest

import framework.training.experiment  # noqa: F401  registers train.*
from framework.configuration import Configuration

DIGITS = Path(__file__).parents[3] / "gin/digits.gin"
PLUGIN = """
from framework import register
from framework.flow import velocity
import numpy
{imports}

@register.schedule("toy_of_sources")
class Toy:
    def __call__(self, step: int, steps: int) -> float:
        return 1.0
"""


def sources(*sets):
    return Configuration.load([DIGITS], sets).resolve().sources()


def test_the_mathematics_behind_a_component_counts_and_the_machinery_does_not():
    found = set(sources())
    assert found >= {
        "losses.tvm",
        "models.dit",
        "components.losses.velocity",
        "components.losses.draws",
        "components.models.transformer",
        "components.models.residual",
        "components.models.condition",
        "framework.flow",
    }
    assert not {name for name in found if name.startswith("framework.")} & {
        "framework.registry",
        "framework.settings",
        "framework.kinds",
        "framework.protocols.networks",
        "framework.training.loop",
    }
    assert "components.losses.flow_matching" not in found
    assert "components.models.unet" not in found


def test_what_is_used_decides():
    assert "schedules.cosine" not in sources()
    assert "schedules.cosine" in sources("train.schedule = @schedules.cosine()")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Write a plug-in's files; return the digests of a run that uses it."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def digests(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__of__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        configuration = Configuration.load(
            [DIGITS], ["train.schedule = @toy_of_sources()"], [str(tmp_path / "sources_plugin.py")]
        )
        return configuration.resolve().sources()

    yield digests
    for name in [n for n in sys.modules if n.startswith(("sources_plugin", "sources_beside"))]:
        del sys.modules[name]


def test_a_plugin_counts_with_what_it_imports_from_its_folder(plugin):
    before = plugin(
        sources_plugin=PLUGIN.format(imports="from sources_beside import one"),
        sources_beside__of____init__="",
        sources_beside__of__one="from . import two\nfrom .two import B",
        sources_beside__of__two="A = 1\nB = 2",
        sources_beside__of__unused="A = 1",
    )
    names = {name for name in before if name.startswith("sources_beside")}
    assert names == {"sources_beside.one", "sources_beside.two"}
    assert {"framework.flow", "schedules.toy_of_sources"} <= set(before)
    after = plugin(sources_beside__of__two="A = 2\nB = 2", sources_beside__of__unused="A = 2")
    assert {name for name in before if before[name] != after[name]} == {"sources_beside.two"}
    assert before.keys() == after.keys()
