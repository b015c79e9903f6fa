"""Arrays of numbers in pickles, and what torch.save writes: read as data."""

import copy
import io
import pickle
import zipfile

import numpy as np
import pytest

from framework.importing import Instance, RefusedError, array, read_pickle, read_torch_save
from tests.framework.importing.hostile import text, touching
from tests.framework.importing.releases import good, torch_saved


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


def overlapping(data):
    """The archive with a directory that names the largest entry ten times."""
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        for number_ in range(10):
            twin = copy.copy(largest)
            twin.filename = f"archive/data/9{number_}"
            archive.filelist.append(twin)
        archive._didModify = True
    return stream.getvalue()


HOSTILE_ARCHIVES = {
    "larger than the whole": lambda d, p: overlapping(d),
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
