"""The journal gives back what was written, and of damaged bytes a prefix of it."""

import errno
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework.results.journal import HEADER_BYTES, Journal, Record, create, decode, encode, scan
from framework.results.storage import StorageError

HEADS = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    max_size=4,
)
RECORDS = st.lists(
    st.builds(
        lambda head, body: Record({**head, "kind": "k"}, body), HEADS, st.binary(max_size=60)
    ),
    max_size=6,
)
FILES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def is_prefix(found, records):
    return found == records[: len(found)]


@given(RECORDS)
def test_records_come_back(records):
    data = b"".join(map(encode, records))
    assert decode(data) == (records, len(data))


@given(RECORDS, st.data())
def test_a_truncation_yields_the_whole_records_before_it(records, data):
    encoded = [encode(record) for record in records]
    whole = b"".join(encoded)
    cut = data.draw(st.integers(0, len(whole)))
    found, used = decode(whole[:cut])
    assert is_prefix(found, records)
    ends = [sum(map(len, encoded[: n + 1])) for n in range(len(encoded))]
    assert len(found) == sum(end <= cut for end in ends)
    assert used == sum(map(len, encoded[: len(found)]))


@given(RECORDS.filter(bool), st.data())
def test_a_flipped_byte_yields_a_prefix(records, data):
    whole = bytearray(b"".join(map(encode, records)))
    where = data.draw(st.integers(0, len(whole) - 1))
    whole[where] ^= data.draw(st.integers(1, 255))
    found, _ = decode(bytes(whole))
    assert is_prefix(found, records)
    assert len(found) < len(records)


@given(RECORDS, st.binary(max_size=40))
def test_rubbish_behind_the_records_is_left_out(records, rubbish):
    found, _ = decode(b"".join(map(encode, records)) + rubbish)
    assert found == records


@FILES
@given(RECORDS, st.data())
def test_a_flipped_byte_of_the_file_yields_a_prefix(tmp_path, records, data):
    path = tmp_path / "results.journal"
    create(path, records)
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = scan(path)
    assert is_prefix(found.records, records)
    assert (found.identity is None) == (where < HEADER_BYTES)


@FILES
@given(RECORDS, RECORDS, st.data())
def test_a_writer_goes_on_behind_a_torn_tail(tmp_path, before, after, data):
    path = tmp_path / "results.journal"
    create(path, before)
    torn = encode(Record({"kind": "torn"}, b"x" * 30))
    with path.open("ab") as file:
        file.write(torn[: data.draw(st.integers(0, len(torn) - 1))])
    journal = Journal(path)
    journal.resume(scan(path))
    journal.append(after)
    journal.close()
    assert scan(path).records == before + after


def test_reading_from_a_position(tmp_path):
    records = [Record({"kind": "a", "n": n}, bytes(n)) for n in range(5)]
    create(tmp_path / "j", records)
    start = HEADER_BYTES + sum(len(encode(record)) for record in records[:2])
    assert scan(tmp_path / "j", start).records == records[2:]
    assert scan(tmp_path / "j", 10_000).records == []


def test_a_missing_journal_has_no_records(tmp_path):
    found = scan(tmp_path / "nothing")
    assert (found.identity, found.records) == (None, [])


def test_a_failed_write_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "results.journal"
    create(path)
    journal = Journal(path)
    journal.resume(scan(path))
    journal.append([Record({"kind": "first"})])
    real = os.write

    def half_then_full(descriptor, data):
        if len(data) > 10:
            return real(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(StorageError, match=r"results\.journal.*No space left.*free some space"):
        journal.append([Record({"kind": "lost"}, b"x" * 3)])
    monkeypatch.undo()
    journal.append([Record({"kind": "second"})])
    journal.close()
    assert [record.kind for record in scan(path).records] == ["first", "second"]
