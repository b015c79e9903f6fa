import errno
import logging
from pathlib import Path

import pytest
import torch

from framework.training.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def files(checkpoints):
    return sorted(p.name for p in checkpoints.directory.iterdir())


def test_what_was_saved_comes_back(checkpoints):
    state = {"step": 7, "weights": {"a": torch.randn(3)}, "names": ["x"]}
    checkpoints.save(7, state)
    loaded = checkpoints.load()
    assert loaded["step"] == 7
    assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])


def test_nothing_saved_is_none(checkpoints):
    assert checkpoints.load() is None


def test_the_last_two_are_kept(checkpoints):
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step})
    assert files(checkpoints) == [
        "step-00000002.pt",
        "step-00000002.pt.sha256",
        "step-00000003.pt",
        "step-00000003.pt.sha256",
    ]


@pytest.mark.parametrize("damage", ["cut", "flip", "no digest"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(checkpoints, damage, caplog):
    checkpoints.save(1, {"step": 1})
    checkpoints.save(2, {"step": 2, "weights": torch.zeros(1000)})
    newest = checkpoints.directory / "step-00000002.pt"
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(content[:-100])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    else:
        newest.with_suffix(".pt.sha256").unlink()
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load() == {"step": 1}
    assert "step-00000002.pt is damaged" in caplog.text


def test_a_disk_that_is_full_when_a_step_is_saved_again_costs_nothing(checkpoints, monkeypatch):
    checkpoints.save(1, {"step": 1})
    write_text = Path.write_text

    def full(path, text, **named):
        write_text(path, "")
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save(1, {"step": 1})
    assert checkpoints.load() == {"step": 1}


def test_a_kill_before_the_rename_leaves_the_last_one(checkpoints):
    checkpoints.save(1, {"step": 1})
    (checkpoints.directory / "step-00000002.pt.new").write_bytes(b"half of it")
    assert checkpoints.load() == {"step": 1}
