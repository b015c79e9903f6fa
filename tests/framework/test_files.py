"""Replacing files: the old one or the new one, and nothing beside it."""

import pytest

from framework.files import publish, replacing


def test_what_was_written_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "grid.json"
    path.write_text("old")
    with replacing(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "grid.json"
    publish(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        publish(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "picture.png"
    with pytest.raises(ValueError, match="half"), replacing(path) as beside:
        beside.write_text("half of it")
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []
