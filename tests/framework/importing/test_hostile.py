"""Pickles that ask for what they should not get: refused by name, with nothing run."""

import pytest

from framework.importing import (
    Instance,
    RefusedError,
    array,
    names,
    parameters,
    read_pickle,
)
from framework.importing import machine as machine_module
from tests.framework.importing.hostile import (
    HOSTILE,
    binary,
    bomb,
    in_module,
    in_record,
    number,
    storage,
)
from tests.framework.importing.releases import dumped, good


def written(folder, code):
    path = folder / "file.pkl"
    path.write_bytes(b"\x80\x04" + code + b".")
    return path


UNBALANCED = {"mark is missing", "does not end with one object", "refers to an object"}
PLACES = {"bare": lambda c: c, "record": in_record, "module": in_module}


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (words, place)
        for words in HOSTILE
        for place in PLACES
        if place == "bare" or words != "stack"
    ],
)
def test_it_is_refused_by_name_and_nothing_runs(words, place, tmp_path):
    proof = tmp_path / "proof"
    path = written(tmp_path, PLACES[place](HOSTILE[words](proof)))
    with pytest.raises(RefusedError) as refusal:
        read_pickle(path)
    message = str(refusal.value)
    assert words in message or (place != "bare" and words in UNBALANCED)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 400
    assert not proof.exists()


def test_a_bomb_of_references_takes_no_memory(tmp_path):
    value = read_pickle(written(tmp_path, bomb()))
    assert isinstance(value, tuple)


def test_one_object_is_not_copied_a_thousand_times(tmp_path):
    data = storage(200_000)
    again = b"0ctorch.storage\n_load_from_bytes\nh\x01\x85R"
    first = b"N" + b"0ctorch.storage\n_load_from_bytes\n" + binary(data) + b"q\x01\x85R"
    assert read_pickle(written(tmp_path, first + again)) is not None
    pairs = b"N0](" + b"".join(number(i) + b"K\x00\x86" for i in range(9000)) + b"eq\x010N"
    for code in (
        first + again * 1000,
        pairs + b"0ccollections\nOrderedDict\nh\x01\x85R" * 1000,
    ):
        with pytest.raises(RefusedError, match="copies far more than it holds"):
            read_pickle(written(tmp_path, code))


def test_networks_that_hold_each_other_end(tmp_path):
    wide, deep, round_about = Instance("a"), Instance("b"), Instance("c")
    wide.state["_modules"] = {f"{i}": Instance("leaf") for i in range(1000)}
    deep.state["_modules"] = {f"{i}": wide for i in range(1000)}
    round_about.state["_modules"] = {"x": round_about}
    for network in (deep, round_about):
        with pytest.raises(RefusedError, match=r"its networks (have more|are nested)"):
            parameters(network)


@pytest.mark.parametrize("kind", ["_modules", "_parameters"])
@pytest.mark.parametrize(
    ("name", "words"),
    [("x" * 2000, "more than 1024 letters"), (10**5000, "are no texts")],
    ids=["long", "number"],
)
def test_names_of_parts_that_would_take_memory_are_refused(name, words, kind):
    with pytest.raises(RefusedError, match=words):
        parameters(Instance("Leaf", {kind: {name: Instance("Leaf")}}))


@pytest.mark.parametrize("shape", [(1,) * 70, (0, 1 << 70), (2,)])
def test_shapes_that_no_array_has_are_refused(shape):
    numbers = Instance("numpy.dtype", {"code": "u1"})
    data = b"x" if 0 not in shape else b""
    stand_in = Instance("numpy.ndarray", {"__setstate__": (1, shape, numbers, False, data)})
    with pytest.raises(RefusedError, match="shape does not fit"):
        array(stand_in)


def test_deep_nesting_is_read_without_recursion(tmp_path):
    value = read_pickle(written(tmp_path, b")" + b"\x85" * 300_000))
    assert isinstance(value, tuple)


def test_instructions_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, "MAX_OPCODES", 100)
    with pytest.raises(RefusedError, match="more than 100 instructions"):
        read_pickle(written(tmp_path, b"N0" * 100 + b"N"))


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "MAX_BYTES", 3)
    with pytest.raises(RefusedError, match="more than 3 are not read"):
        read_pickle(written(tmp_path, b"N0N"))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = dumped(good())
    assert isinstance(read_pickle(written(tmp_path, whole[2:-1]))["net"], Instance)
    path = tmp_path / "cut.pkl"
    for end in [*range(0, len(whole) - 1, 7), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(RefusedError, match="damaged"):
            read_pickle(path)


def test_a_flipped_byte_is_refused_or_read_as_data(tmp_path):
    whole = bytearray(dumped(good()))
    path = tmp_path / "flipped.pkl"
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0x15
        path.write_bytes(changed)
        try:
            read_pickle(path)
        except RefusedError as refusal:
            assert str(path) in str(refusal)
