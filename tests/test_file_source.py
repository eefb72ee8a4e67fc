"""File source: plain and gzip bytes, formats, and files that cannot be read to their end."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkl.adapters.csv_decoder import CsvDecoder
from streamkl.adapters.file_source import FileSource
from streamkl.adapters.gzip_blocks import BLOCK_BYTES, inflated
from streamkl.adapters.json_decoder import JsonDecoder
from streamkl.errors import ConfigError, Unavailable


def source_of(path, format=None, **kwargs):
    formats = []

    def decoder(found):
        formats.append(found)
        return (CsvDecoder if found == "csv" else JsonDecoder)(["x"], str(path))

    return FileSource(str(path), decoder, format, **kwargs), formats


def values_of(source):
    return [value for batch in source.batches() for value in batch.columns.get("x", ())]


@given(st.lists(st.binary(max_size=300), min_size=1), st.integers(0, 3), st.integers(1, 50))
def test_gzip_members_are_read_as_the_standard_library_reads_them(members, padding, step):
    stored = b"".join(map(gzip.compress, members)) + b"\0" * padding
    blocks = [stored[i : i + step] for i in range(0, len(stored), step)]
    assert b"".join(inflated(blocks)) == gzip.decompress(stored) == b"".join(members)


@given(st.binary(min_size=1, max_size=2000), st.integers(1, 2000))
def test_a_cut_gzip_file_gives_a_prefix_and_then_an_error(plain, kept):
    stored = gzip.compress(plain)
    got: list[bytes] = []
    with pytest.raises(EOFError):
        got.extend(inflated([stored[: min(kept, len(stored) - 1)]]))
    assert plain.startswith(b"".join(got))


def test_a_gzip_file_with_a_wrong_checksum_is_refused():
    stored = bytearray(gzip.compress(b"x\n1\n"))
    stored[-6] ^= 1
    with pytest.raises(zlib.error):
        list(inflated([bytes(stored)]))


def test_a_gzip_bomb_comes_in_bounded_blocks():
    sizes = [len(block) for block in inflated([gzip.compress(b"0" * 20_000_000)])]
    assert max(sizes) <= BLOCK_BYTES
    assert sum(sizes) == 20_000_000


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("a.csv", 'x\n{"x"}\n', "csv"), ("a.JSONL", '{"x":1}', "jsonl"), ("a.ndjson", '{"x":1}', "jsonl"), ("a.csv.gz", "x\n1\n", "csv"),
        ("a", "x\n1\n", "csv"), ("b", '\n {"x":1}', "jsonl"), ("c.log", '\ufeff{"x":1}', "jsonl"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_the_format_is_known_by_the_name_else_by_the_first_byte(tmp_path, name, text, format, block_bytes):
    (tmp_path / name).write_text(text, encoding="utf-8")
    source, formats = source_of(tmp_path / name, block_bytes=block_bytes)
    assert len(values_of(source)) == 1
    assert formats == [format]


def test_the_format_that_was_said_is_believed(tmp_path):
    (tmp_path / "a.csv").write_text('{"x":5}\n')
    assert values_of(source_of(tmp_path / "a.csv", "jsonl")[0]) == [5]


def test_records_before_a_cut_are_given_before_the_error(tmp_path):
    path = tmp_path / "a.csv"
    stored = gzip.compress("".join(["x\n", *(f"{i * 7919 % 100_003}\n" for i in range(100_000))]).encode())
    path.write_bytes(stored[:-20])
    batches = []
    with pytest.raises(Unavailable, match="damaged"):
        batches.extend(source_of(path)[0].batches())
    got = [value for batch in batches for value in batch.columns.get("x", ())]
    assert len(got) > 99_000
    assert got == [str(i * 7919 % 100_003) for i in range(len(got))]


@pytest.mark.parametrize("block_bytes", [1, 1000])
def test_what_follows_the_gzip_data_is_said_to_be_something_else(tmp_path, block_bytes):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x\n1\n2\n") + b"garbage")
    batches = []
    with pytest.raises(Unavailable, match="something else follows it; what comes before was watched"):
        batches.extend(source_of(path, block_bytes=block_bytes)[0].batches())
    assert [value for batch in batches for value in batch.columns["x"]] == ["1", "2"]


def test_a_file_that_is_not_there_says_what_to_give_instead(tmp_path):
    with pytest.raises(Unavailable, match="No such file or directory; give the path of a file, or - for standard input"):
        next(source_of(tmp_path / "none")[0].batches())


def test_a_pipe_is_read_as_it_comes(monkeypatch):
    reader, writer = os.pipe()
    with open(reader, "rb") as file, open(writer, "wb", buffering=0) as feeder:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        batches = source_of("-")[0].batches()
        feeder.write(b"x\n1\n2\n")
        assert next(batches).columns == {"x": ["1", "2"]}
        feeder.write(b"3\n4")
        assert next(batches).columns == {"x": ["3"]}
        feeder.close()
        assert [batch.columns["x"] for batch in batches if batch.lines] == [["4"]]
        sys.stdin.detach()


def test_progress_counts_the_bytes_as_they_are_stored(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x\n" + b"1\n" * 10_000))
    source, _ = source_of(path)
    assert len(values_of(source)) == 10_000
    assert source.progress() == (path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize("stored", [b"", b" \n\n", gzip.compress(b""), b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_refused(tmp_path, stored):
    (tmp_path / "a.csv").write_bytes(stored)
    with pytest.raises(ConfigError, match="is empty"):
        values_of(source_of(tmp_path / "a.csv")[0])
