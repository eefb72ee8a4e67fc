"""File records: what the contract of sources does not say - lines, pipes, gzip, CSV, files that changed, and how much memory it takes."""

from __future__ import annotations

import csv
import gzip
import io
import os
import signal
import subprocess
import sys
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkl.adapters.byte_stream import ByteStream
from streamkl.adapters.csv_lines import HEADER, CsvLines
from streamkl.adapters.csv_record_decoder import QUOTE_OPEN, CsvRecordDecoder
from streamkl.adapters.csv_records import OPEN_LINES
from streamkl.adapters.file_records import LINE_BYTES, FileRecords
from streamkl.adapters.json_record_decoder import TOO_LONG, JsonRecordDecoder
from streamkl.adapters.line_records import LineRecords
from streamkl.errors import ConfigError, StateError, Unavailable
from streamkl.service.record import Partition

TOPIC = Partition("t", 0)


def read(path, offset=None, **settings):
    source = FileRecords(str(path), "t", **settings)
    assert source.poll(1.0).gained == (TOPIC,)
    source.start(TOPIC, offset)
    found = polled(source, [])
    source.close()
    return found


def polled(source, found):
    while not (arrivals := source.poll(1.0)).is_end:
        found += [record for run in arrivals.runs for record in run.records]
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.jsonl"


@given(st.lists(st.sampled_from([b"", b"a", b"bc", b"\n", b"\n\n", b"\r\n", b"long line"])), st.integers(1, 8))
def test_lines_are_those_of_split_and_a_long_one_is_cut_one_byte_beyond_the_most(pieces, most):
    lines = LineRecords(most)
    found = [line for piece in pieces for line in lines.cut(piece)] + lines.rest()
    expected = b"".join(pieces).split(b"\n")
    expected = expected if expected[-1] else expected[:-1]
    assert [(line.number, line.text, line.size) for line in found] == [(i, text[: most + 1], len(text)) for i, text in enumerate(expected)]


@pytest.mark.parametrize("block_bytes", [1, 5, 1000])
def test_blank_lines_are_no_records_but_have_a_number(path, block_bytes):
    path.write_bytes(b'\n{"x":1}\n \t\n\r\n{"x":2}\r\n\n\n{"x":3}')
    assert [(r.offset, r.value) for r in read(path, block_bytes=block_bytes)] == [(1, b'{"x":1}'), (4, b'{"x":2}\r'), (7, b'{"x":3}')]


def test_a_line_that_is_too_long_is_a_record_that_the_decoder_rejects_with_its_beginning_and_its_length(path):
    long = b'{"x":1,"text":"' + b"y" * 5000 + b'"}'
    path.write_bytes(b'{"x":1}\n' + long + b"\n" + b" " * 300 + b'{"x":2}\n{"x":3}\n')
    found = read(path, record_bytes_max=100, block_bytes=64)
    assert [r.offset for r in found] == [0, 1, 2, 3]
    assert found[1].value == long[:101]
    assert found[1].headers == ((LINE_BYTES, b"%d" % len(long)),)
    assert JsonRecordDecoder(["x"], record_bytes_max=100).decode(found) == ([0, 3], {"x": [1, 3]}, [(1, TOO_LONG), (2, TOO_LONG)])


@pytest.mark.parametrize("lines", [0, 1, 4])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_has_fewer_lines_than_were_used_is_refused_with_the_remedy(tmp_path, lines, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    stored = b'{"x":1}\n' * lines
    path.write_bytes(gzip.compress(stored) if suffix else stored)
    assert read(path, lines) == []
    with pytest.raises(StateError, match=rf"has {lines} lines, but {lines + 1} of it were used: .* or discard the state"):
        read(path, lines + 1)


def test_a_file_that_is_not_there_is_unavailable_until_it_is(path):
    source = FileRecords(str(path), "t")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"cannot open .*: No such file"):
            source.poll(0.0)
    path.write_bytes(b'{"x":1}\n')
    assert source.poll(0.0).gained == (TOPIC,)
    source.start(TOPIC, None)
    assert len(source.poll(0.0).runs[0].records) == 1
    source.close()


def test_after_a_fault_of_the_disk_reading_goes_on_at_the_next_line(path):
    path.write_bytes(b"".join(b'{"x":%d}\n' % i for i in range(20)))
    source = FileRecords(str(path), "t", block_bytes=20)
    source.poll(0.0)
    source.start(TOPIC, 3)
    found = [record.offset for _ in range(3) for run in source.poll(0.0).runs for record in run.records]
    folder = os.open(path.parent, os.O_RDONLY)
    os.dup2(folder, source._stream._descriptor)     # so that the next read fails
    os.close(folder)
    with pytest.raises(Unavailable, match="Is a directory"):
        source.poll(0.0)
    while not (arrivals := source.poll(0.0)).is_end:
        found += [record.offset for run in arrivals.runs for record in run.records]
    assert found == list(range(3, 20))
    source.close()


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (b'[{"x":1},\n{"x":2}]\n', "is a JSON array; one object a line"),
        ('{"x":1}\n'.encode("utf-16"), "is UTF-16; convert it first"),
        (b"PK\x03\x04 and more", "holds zip data; unpack it first"),
        (gzip.compress(b"PK\x03\x04 and more"), "holds zip data"),
        (gzip.compress(b'{"x":1}\n' * 100_000)[:-9], "gzip data is damaged"),
    ],
)
def test_what_can_never_be_read_is_refused_for_good(path, stored, words):
    path.write_bytes(stored)
    source = FileRecords(str(path), "t")
    source.poll(0.0)
    source.start(TOPIC, 0)
    with pytest.raises(ConfigError, match=words):
        polled(source, [])
    with pytest.raises(ConfigError, match=words):
        source.poll(0.0)
    source.close()


def test_all_lines_before_the_damage_of_a_gzip_file_come(path):
    path.write_bytes(gzip.compress(b"".join(b'{"x":%d}\n' % i for i in range(50_000)))[:-5])
    source = FileRecords(str(path), "t")
    source.poll(0.0)
    source.start(TOPIC, 0)
    found = []
    with pytest.raises(ConfigError, match="gzip data is damaged"):
        polled(source, found)
    assert [record.offset for record in found] == list(range(50_000))
    source.close()


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_pipe_without_news_is_waited_for_no_longer_than_asked(tmp_path, is_compressed):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = FileRecords(str(pipe), "t")
    assert not source.is_replayable
    source.poll(0.0)
    source.start(TOPIC, 100)
    begin = time.monotonic()
    assert source.poll(0.05) == ((), (), (), False, None)
    stored = b'{"x":1}\n{"x":2}\n{"x":'
    stored = gzip.compress(stored) if is_compressed else stored
    with open(pipe, "wb", buffering=0) as writer:
        found = []
        for start in range(len(stored)):
            writer.write(stored[start : start + 1])
            found += [record for run in source.poll(0.05).runs for record in run.records]
            assert not source.poll(0.0).runs
        for _ in range(3):
            found += [record for run in source.poll(0.01).runs for record in run.records]
    assert [(r.offset, r.value) for r in found] == [(100, b'{"x":1}'), (101, b'{"x":2}')]
    assert [(r.offset, r.value) for run in source.poll(1.0).runs for r in run.records] == [(102, b'{"x":')]
    assert source.poll(1.0).is_end
    assert time.monotonic() - begin < 5
    source.close()


def test_compressed_bytes_of_which_nothing_comes_out_are_not_waited_for_again(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = FileRecords(str(pipe), "t")
    source.poll(0.0)
    source.start(TOPIC, 0)
    stored = gzip.compress(b'{"x":1}\n' * 100)
    with open(pipe, "wb", buffering=0) as writer:
        writer.write(stored[:8])
        source.poll(0.0)
        writer.write(stored[8:10])      # still of the head of gzip
        begin = time.monotonic()
        assert not source.poll(20.0).runs
        assert time.monotonic() - begin < 10
    source.close()


STDIN = """
import signal, sys
from streamkl.adapters.file_records import FileRecords

stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
source = FileRecords("-", "t")
partition = source.poll(0.0).gained[0]
source.start(partition, 5)
while not stopped:
    arrivals = source.poll(0.1)
    for run in arrivals.runs:
        for record in run.records:
            print(record.offset, record.value.decode(), flush=True)
    if arrivals.is_end:
        print("end", source.is_replayable, source.lags()[partition])
        break
else:
    print("stopped")
"""


def standard_input():
    return subprocess.Popen([sys.executable, "-P", "-c", STDIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_standard_input_is_numbered_on_and_ends():
    with standard_input() as process:
        printed, _ = process.communicate(b'{"x":1}\n\n{"x":2}')
    assert printed.decode().splitlines() == ['5 {"x":1}', '7 {"x":2}', "end False 0"]


def test_a_signal_is_noticed_while_nothing_comes_from_standard_input():
    with standard_input() as process:
        process.stdin.write(b'{"x":1}\n')
        process.stdin.flush()
        assert process.stdout.readline() == b'5 {"x":1}\n'
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"stopped\n"


def test_memory_does_not_grow_with_the_file(tmp_path):
    """16 MB in gzip, half of it one line, in less than 2 MB."""
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write((b'{"x":1' + b" " * 505 + b"}\n") * (1 << 14))
        for _ in range(8):
            file.write(b"y" * (1 << 20))
    source = FileRecords(str(path), "t", record_bytes_max=1 << 16)
    source.poll(0.0)
    source.start(TOPIC, 1000)
    tracemalloc.start()
    records = 0
    while not (arrivals := source.poll(0.0)).is_end:
        records += sum(len(run.records) for run in arrivals.runs)
        del arrivals
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.close()
    assert records == (1 << 14) - 1000 + 1
    assert peak < 2 << 20


# ---------------------------------------------------------------- CSV


TEXT = st.text(st.sampled_from('ab,"\n é'), max_size=6)
ROWS = st.lists(st.tuples(TEXT, TEXT.filter(str.strip)), max_size=6)


@given(rows=ROWS, block_bytes=st.integers(1, 40), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_csv_rows_come_back_through_source_and_decoder_wherever_they_are_cut(rows, block_bytes, quoting):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows([("x", "the y"), *rows])
    stored = text.getvalue().encode()
    lines = CsvLines(1000)
    found = [line for start in range(0, len(stored), block_bytes) for line in lines.cut(stored[start : start + block_bytes])] + lines.rest()
    records = [FileRecords("-", "t")._record(line)._replace(value=line.text, headers=lines.headers) for line in found]
    decoded = CsvRecordDecoder(["x", "the y"]).decode(records)
    assert decoded.rejects == []
    assert list(zip(decoded.columns["x"], decoded.columns["the y"], strict=True)) == rows


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbft,x\n1,2\n3,"a\nb\n\nc"\n\n5,6\n7\n8,9')
    return path


@pytest.mark.parametrize("block_bytes", [1, 9, 1000])
def test_the_offset_of_a_row_of_csv_is_its_first_line_and_its_header_goes_with_it(table, block_bytes):
    found = read(table, block_bytes=block_bytes)
    assert [(r.offset, r.value) for r in found] == [(1, b"1,2"), (2, b'3,"a\nb\n\nc"'), (7, b"5,6"), (8, b"7"), (9, b"8,9")]
    assert {r.headers for r in found} == {((HEADER, b"t,x"),)}
    decoded = CsvRecordDecoder(["x", "no such"]).decode(found)
    assert decoded.columns["x"] == ["2", "a\nb\n\nc", "6", "9"]
    assert decoded.rejects == [(3, "fewer fields than the header")]


@pytest.mark.parametrize("offset", range(11))
def test_reading_of_csv_goes_on_behind_a_row_that_spans_lines_never_within_it(table, offset):
    assert [r.offset for r in read(table, offset)] == [number for number in (1, 2, 7, 8, 9) if number >= offset]


@pytest.mark.parametrize("lines_after", [3, OPEN_LINES + 5])
def test_a_quote_left_open_costs_its_own_line_only(tmp_path, lines_after):
    path = tmp_path / "a.csv"
    path.write_bytes(b'x,y\n1,2\n3,"4\n' + b"5,6\n" * lines_after)
    found = read(path)
    decoded = CsvRecordDecoder(["x"]).decode(found)
    assert decoded.rejects == [(1, QUOTE_OPEN)]
    assert decoded.columns["x"] == ["1", *["5"] * lines_after]


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        (b"x,y", b"1", "fewer fields than the header"),
        (b"x,y", b"1,2,3", "more fields than the header"),
        (b"x,x", b"1,2", "a watched column is twice in the header row"),
        (b'x,"y', b"1,2", "no header row"),
        (None, b"1,2", "no header row"),
        (b"x,y", b"1,2\n3,4", "not one row of CSV"),
        (b"x,y", b"1\r2,3", "not one row of CSV"),
        (b"x,y", b"\xff,3", "invalid UTF-8 (or half a surrogate pair)"),
    ],
)
def test_what_is_no_row_of_its_header_is_a_reject(header, value, reason):
    record = FileRecords("-", "t")._record(LineRecords(100).cut(b"x\n")[0])
    record = record._replace(value=value, headers=() if header is None else ((HEADER, header),))
    assert CsvRecordDecoder(["x"]).decode([record, record]).rejects == [(0, reason), (1, reason)]


def test_a_pipe_says_its_format_by_its_first_byte(tmp_path):
    for stored, format in ((b"x,y\n1,2\n", "csv"), (b'{"x":1}\n', "jsonl"), (gzip.compress(b'{"x":1}\n'), "jsonl")):
        path = tmp_path / "data"
        path.write_bytes(stored)
        stream = ByteStream(str(path))
        assert b"".join(stream.blocks()) == (gzip.decompress(stored) if stored.startswith(b"\x1f") else stored)
        assert stream.format == format
        stream.close()


def test_a_last_line_that_is_half_written_is_left_for_the_next_run(tmp_path):
    path = tmp_path / "growing.jsonl"
    path.write_bytes(b'{"x": 1}\n{"x": 2}\n{"x": 3, "y"')
    assert [record.value for record in read(path)] == [b'{"x": 1}', b'{"x": 2}']
    with path.open("ab") as file:
        file.write(b': 4}\n{"x": 5}')
    found = read(path, offset=2)
    assert [(record.offset, record.value) for record in found] == [(2, b'{"x": 3, "y": 4}'), (3, b'{"x": 5}')]


def test_a_closed_standard_input_is_said_and_nothing_else_is_read_in_its_place(tmp_path):
    (tmp_path / "c.yaml").write_text("application: a\nsource: {kind: file, path: '-'}\nstreams: [{fields: {x: numeric}}]\nmonitoring: {port: null}\n")
    run = [sys.executable, "-P", "-c", "import sys; sys.argv = ['streamkl', 'run', 'c.yaml']; from streamkl.app.cli import main; main()"]
    done = subprocess.run(
        ["sh", "-c", f"exec timeout 20 {' '.join(map(repr, run[:3]))} \"{run[3]}\" <&-"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "standard input is closed" in done.stderr) == (2, True)
    assert "records.refused" not in done.stderr
