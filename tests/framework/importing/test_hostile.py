"""Pickles that ask for what they should not get: refused by name, with nothing run."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from framework.importing import (
    Instance,
    RefusedError,
    array,
    names,
    read_pickle,
    read_torch_save,
)
from framework.importing import machine as machine_module
from tests.framework.importing.releases import Record, dumped, torch_saved


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def number(value):
    return b"\x8a" + bytes([8]) + struct.pack("<q", value)


def binary(data):
    return b"B" + struct.pack("<I", len(data)) + data


def called(module, name, *arguments):
    """Pickle code of module.name(*arguments)."""
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def loaded(data):
    return called("torch.storage", "_load_from_bytes", binary(data))


def storage(values=3):
    stream = io.BytesIO()
    typed = torch.storage.TypedStorage(
        wrap_storage=torch.arange(float(values)).untyped_storage(),
        dtype=torch.float32,
        _internal=True,
    )
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def view(offset, size, stride):
    def tuple_of(counts):
        return b"(" + b"".join(map(number, counts)) + b"t"

    arguments = (loaded(storage()), number(offset), tuple_of(size), tuple_of(stride), b"\x89N")
    return called("torch._utils", "_rebuild_tensor_v2", *arguments)


def touching(proof):
    """Pickle code of open(proof, "w"): what an attacker would put first."""
    return called("builtins", "open", text(str(proof)), text("w"))


def nested(code):
    """A storage's bytes, their description replaced by code of an attacker."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return magic + b"\x80\x02" + code + b"." + pickle.dumps([], 2)


def in_record(code):
    """The code where a record's state has an attribute."""
    meta = b"(" + text("type") + text("class") + text("class_name") + text("X") + text("state")
    meta += b"(" + text("attribute") + code + b"dd"
    return called("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def in_module(code):
    """The code in the state of a torch.nn module."""
    made = b"ctorch.nn.modules.linear\nLinear\n)\x81"
    return made + b"(" + text("_parameters") + code + b"db"


def bomb(levels=60):
    """Tuples of two references each: 2^60 texts to whoever walks through them."""
    code = text("lol") + b"\x94"
    for level in range(levels):
        code += b"0(" + 2 * (b"h" + bytes([level])) + b"t\x94"
    return code


HOSTILE = {
    "builtins.open": touching,
    "posix.system": lambda p: called("posix", "system", text(f"touch {p}")),
    "builtins.eval": lambda p: called("builtins", "eval", text(f"open({str(p)!r}, 'w')")),
    "subprocess.Popen": lambda p: called("subprocess", "Popen", text(f"touch {p}")),
    "functools.partial": lambda p: called("functools", "partial", b"cposix\nsystem\n"),
    "builtins.getattr": lambda p: b"cbuiltins\ngetattr\n",
    "importlib.import_module": lambda p: called("importlib", "import_module", text("antigravity")),
    "torch.load": lambda p: called("torch", "load", text(str(p))),
    "torch._utils._rebuild_tensor_v2.__globals__": lambda p: (
        text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93"
    ),
    "torch.nn.modules_evil.X": lambda p: b"ctorch.nn.modules_evil\nX\n)\x81",
    "calls 'torch.nn.modules.linear.Linear'": lambda p: called(
        "torch.nn.modules.linear", "Linear", number(1)
    ),
    "makes 'torch.nn.modules.linear.Linear'": lambda p: (
        b"ctorch.nn.modules.linear\nLinear\n" + number(4) + b"\x85\x81"
    ),
    "calls something without a name": lambda p: text("x") + b")R",
    "instruction INST": lambda p: b"(" + text("x") + b"iposix\nsystem\n",
    "instruction OBJ": lambda p: b"(ctorch.nn.modules.linear\nLinear\no",
    "instruction EXT1": lambda p: b"\x82\x01",
    "instruction EXT4": lambda p: b"\x84\x01\0\0\0",
    "instruction NEWOBJ_EX": lambda p: b"ctorch.nn.modules.linear\nLinear\n)}\x92",
    "instruction PERSID": lambda p: b"Pstorage\n",
    "instruction NEXT_BUFFER": lambda p: b"\x97",
    "instruction STRING": lambda p: b"S'x'\n",
    "persistent id": lambda p: text("x") + b"Q",
    "sets attributes of a Name": lambda p: (
        b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + b"Nsb"
    ),
    "sets attributes of a Tensor": lambda p: view(0, (3,), (1,)) + b"}b",
    "appends to a dict": lambda p: b"}" + text("x") + b"a",
    "sets items of a Instance": lambda p: b"ctorch.nn.modules.linear\nLinear\n)\x81NNs",
    "a tuple as a key": lambda p: b"}))s",
    "a list as a key": lambda p: b"\x8f(]\x90",
    "in a storage of 3 numbers": lambda p: view(0, (4,), (1,)),
    "(2,) in a storage of 3 numbers": lambda p: view(2, (2,), (1,)),
    "(1099511627776, 1099511627776)": lambda p: view(0, (1 << 40, 1 << 40), (0, 0)),
    "no proper shape": lambda p: view(0, (-1,), (1,)),
    "without a storage": lambda p: called(
        "torch._utils", "_rebuild_tensor_v2", text("x"), number(0), b"))"
    ),
    "arguments that do not fit": lambda p: called("torch._utils", "_rebuild_tensor_v2"),
    "not in the format of torch.save": lambda p: loaded(pickle.dumps(1, 2) * 5),
    "something that is not bytes": lambda p: called("torch.storage", "_load_from_bytes", text("x")),
    "in a storage of it: it asks for 'builtins.open'": lambda p: loaded(nested(touching(p))),
    "in a storage of it: it asks for 'builtins.eval'": lambda p: in_record(
        loaded(nested(called("builtins", "eval", text("1"))))
    ),
    "in a storage of it: it asks for 'torch.storage._load_from_bytes'": lambda p: loaded(
        nested(loaded(nested(touching(p))))
    ),
    "in a storage of it: it holds something else": lambda p: loaded(nested(b"}")),
    "1099511627776 numbers in": lambda p: loaded(
        nested(
            b"("
            + text("storage")
            + b"ctorch\nFloatStorage\n"
            + text("1")
            + text("cpu")
            + number(1 << 40)
            + b"tQ"
        ).removesuffix(pickle.dumps([], 2))
        + pickle.dumps(["1"], 2)
    ),
    "storage that is damaged": lambda p: loaded(storage()[:-3]),
    "encodes a text": lambda p: called("_codecs", "encode", text("x"), text("utf-7")),
    "without a class and a state": lambda p: called(
        "torch_utils.persistence", "_reconstruct_persistent_obj", b"}"
    ),
    "dictionary of something else": lambda p: called("collections", "OrderedDict", text("x")),
    "refers to an object": lambda p: b"h\x07",
    "stack": lambda p: b"0",
    "mark is missing": lambda p: b"t",
    "does not end with one object": lambda p: b"NN",
    "Exceeds the limit": lambda p: b"I" + b"9" * 9000 + b"\n",
    "bytes are announced": lambda p: b"\x8e" + struct.pack("<Q", 1 << 62) + b"x",
}


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


def good():
    module = torch.nn.Linear(2, 3)
    return {"net": Record("Net", module.__dict__), "kwargs": {"a": [1, 2.0, None, True, b"x"]}}


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


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_arrays_of_numbers_come_back_and_those_of_objects_do_not(protocol, tmp_path):
    path = tmp_path / "array.pkl"
    for kind in (np.float64, np.float32, np.int64, np.uint8):
        value = np.arange(12).reshape(3, 4).astype(kind)
        for held in (value, np.asfortranarray(value), value.astype(value.dtype.newbyteorder(">"))):
            path.write_bytes(pickle.dumps({"fid": held}, protocol))
            if protocol == 0:  # which escapes numbers of an array in a text
                continue
            np.testing.assert_array_equal(array(read_pickle(path)["fid"]), value)
    path.write_bytes(pickle.dumps(np.array([{"a": 1}], dtype=object), max(protocol, 2)))
    with pytest.raises(RefusedError):
        array(read_pickle(path))


def repacked(data, change, compression=zipfile.ZIP_STORED):
    """The entries of an archive after `change(name, data)`, which may drop them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content, compression)
    return stream.getvalue()


HOSTILE_ARCHIVES = {
    "compressed": lambda d, p: repacked(d, lambda n, c: c, zipfile.ZIP_DEFLATED),
    "is missing": lambda d, p: repacked(d, lambda n, c: None if n.endswith("data/0") else c),
    "which has 4 bytes": lambda d, p: repacked(d, lambda n, c: b"1234" if "data/0" in n else c),
    "0 files called data.pkl": lambda d, p: repacked(d, lambda n, c: None if "pkl" in n else c),
    "big": lambda d, p: repacked(d, lambda n, c: b"big" if "byteorder" in n else c),
    "'builtins.open'": lambda d, p: repacked(
        d, lambda n, c: b"\x80\x02" + touching(p) + b"." if "pkl" in n else c
    ),
    "no storage of numbers": lambda d, p: repacked(
        d, lambda n, c: b"\x80\x02" + text("x") + b"Q." if "pkl" in n else c
    ),
    "damaged": lambda d, p: d[: len(d) // 2],
}


@pytest.mark.parametrize("words", HOSTILE_ARCHIVES)
def test_archives_of_torch_save_are_read_as_data_too(words, tmp_path):
    path, proof = tmp_path / "state.pt", tmp_path / "proof"
    whole = torch_saved(good())
    path.write_bytes(whole)
    assert isinstance(read_torch_save(path)["net"], Instance)
    path.write_bytes(HOSTILE_ARCHIVES[words](whole, proof))
    with pytest.raises(RefusedError) as refusal:
        read_torch_save(path)
    assert words in str(refusal.value)
    assert not proof.exists()
