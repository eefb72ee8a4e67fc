"""CSV decoder: compared with csv.DictReader of the standard library, whatever the cuts; and what it does with what is no CSV."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamkl.adapters.csv_decoder import CsvDecoder
from streamkl.adapters.csv_grid import grid
from streamkl.adapters.csv_records import records
from streamkl.adapters.lines import Lines
from streamkl.errors import ConfigError

NAMES = ["a", "b", "c"]
FIELDS = st.text(st.sampled_from('ab1, "\n\r;é\u2028\x0b\x00'), max_size=6)


def decoded(text, cuts=(), wanted=NAMES, **kwargs):
    """(line, fields) of the good records, and the rejects, of text cut at the given places."""
    stored = text if isinstance(text, bytes) else text.encode()
    decoder = CsvDecoder(wanted, "test.csv", **kwargs)
    places = [0, *sorted(cut % (len(stored) + 1) for cut in cuts), len(stored)]
    blocks = [stored[start:end] for start, end in pairwise(places)]
    batches = [*(decoder.decode(block, is_last=False) for block in blocks), decoder.decode(b"", is_last=True)]
    rows = [row for b in batches if b.lines for row in zip(b.lines, *(b.columns[name] for name in wanted), strict=True)]
    return rows, [reject for b in batches for reject in b.rejects]


def written(rows, line_end):
    text = io.StringIO(newline="")
    has_returns = any("\r" in field for row in rows for field in row)  # which the writer forgets to quote
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL)
    writer.writerow(NAMES)
    writer.writerows(rows)
    return text.getvalue()


@given(st.lists(st.lists(FIELDS, min_size=3, max_size=3)), st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 500), max_size=8))
@example([["1", "2", "3"]] * 3, "\n", [])
@example([["1", "2\n\n", "3"], ['"', "", ""]], "\r\n", [9, 10, 11])
def test_the_records_are_those_of_the_standard_library_wherever_the_bytes_are_cut(rows, line_end, cuts):
    text = written(rows, line_end)
    got, rejects = decoded(text, cuts)
    twin = csv.DictReader(io.StringIO(text, newline="\n"))
    assert [list(row[1:]) for row in got] == [[row[name] for name in NAMES] for row in twin] == rows
    assert rejects == []


@given(st.lists(st.lists(FIELDS, min_size=3, max_size=3)), st.lists(st.integers(0, 500), max_size=8))
def test_a_record_has_the_number_of_its_first_line(rows, cuts):
    text = written(rows, "\n")
    ends = [1]
    for row in rows:
        ends.append(ends[-1] + written([row], "\n").count("\n") - 1)
    assert [row[0] for row in decoded(text, cuts)[0]] == [end + 1 for end in ends[:-1]]


@given(st.text(st.sampled_from('a1,"\n\r')), st.lists(st.integers(0, 100), max_size=6))
def test_any_text_gives_the_same_records_and_faults_wherever_it_is_cut(text, cuts):
    text = "a,b,c\n" + text
    assert decoded(text, cuts) == decoded(text)


@given(st.text(st.sampled_from('xy,"\n\r\ufeff'), max_size=12), st.lists(st.integers(0, 30), max_size=6))
@example('"x\n"\n\n1\n\n', [4, 5, 6])
def test_any_header_gives_the_same_outcome_wherever_it_is_cut(text, cuts):
    def outcome(places):
        try:
            return decoded(text + "\nx\n1\n", places, ["x"])
        except ConfigError as error:
            return str(error)

    assert outcome(cuts) == outcome(())


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_are_rows_or_faults_never_an_error(stored, cuts):
    rows, rejects = decoded(b"a,b,c\n" + stored, cuts)
    assert all(field.encode() is not None for row in rows for field in row[1:])
    assert len(rows) + len(rejects) <= stored.count(b"\n") + 1


@given(st.integers(1, 5), st.lists(st.lists(st.sampled_from(["", "1", "x y", "é"]), min_size=1, max_size=5), min_size=1))
def test_the_quick_way_reads_what_the_slow_way_reads_or_declines(width, rows):
    text = "".join(",".join(row) + "\n" for row in rows)
    quick = grid(text.encode(), width, range(width))
    slow = [row.fields or [""] for row in records(text, 1).rows]
    if quick is None:
        assert len(slow) < len(rows) or any(len(row) != width for row in slow)
    else:
        assert [list(row) for row in zip(*quick, strict=True)] == slow


@given(st.lists(st.binary(max_size=12)), st.integers(12, 30))
def test_lines_are_those_of_the_bytes_however_they_come(blocks, record_bytes):
    lines = Lines(record_bytes)
    cut = [*(lines.cut(block, is_last=False) for block in blocks), lines.cut(b"", is_last=True)]
    rejects = lines.rejects()
    text = b"".join(blocks)
    whole = text.split(b"\n")[:-1] if text.endswith(b"\n") or not text else text.split(b"\n")
    got = [(first + i, line) for first, part in cut for i, line in enumerate(part.split(b"\n")[:-1])]
    assert got == [(i, line) for i, line in enumerate(whole, 1) if len(line) <= record_bytes]
    assert [reject.line for reject in rejects] == [i for i, line in enumerate(whole, 1) if len(line) > record_bytes]


def test_a_quote_left_open_costs_one_line():
    rows, rejects = decoded('a,b,c\n1,2,3\n4,"5,6\n7,8,9\n')
    assert rows == [(2, "1", "2", "3"), (4, "7", "8", "9")]
    assert [(reject.line, reject.reason) for reject in rejects] == [(3, "quote left open")]


def test_a_quote_left_open_costs_one_line_in_a_file_without_end():
    text = 'a,b,c\n1,"2,3\n' + "4,5,6\n" * 1000
    rows, rejects = decoded(text, range(0, len(text), 50), record_bytes=500)
    assert len(rows) == 1000
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, "quote left open")]


@pytest.mark.parametrize("line", ["4,5,6\n", "\n"])
def test_a_quote_left_open_for_very_many_lines_is_given_up_before_the_file_ends(line):
    decoder = CsvDecoder(["a"], "test.csv")
    decoder.decode(b'a,b,c\n1,"2,3\n', is_last=False)
    batches = [decoder.decode((line * 5000).encode(), is_last=False) for _ in range(4)]
    assert [(reject.line, reject.reason) for batch in batches for reject in batch.rejects] == [(2, "quote left open")]
    assert sum(len(batch.lines) for batch in batches) == (20_000 if line.strip() else 0)


def test_a_quote_that_is_closed_after_very_many_lines_is_one_left_open_wherever_the_bytes_are_cut():
    text = 'a,b,c\n1,"2,3\n' + "4,5,6\n" * 10_001 + '7,8",9\n'
    rows, rejects = decoded(text)
    assert (rows, rejects) == decoded(text, range(0, len(text), 9999))
    assert len(rows) == 10_002
    assert rejects[0] == (2, "quote left open", "")


def test_garbage_of_open_quotes_takes_linear_time():
    text = "a,b,c\n" + 'x"y,"z\n' * 200_000
    rows, rejects = decoded(text)
    assert len(rows) + len(rejects) >= 100_000 - 1  # every two lines make a record at most, and nothing hangs


def test_a_line_without_end_is_a_fault_and_reading_goes_on():
    decoder = CsvDecoder(["x"], "test.csv", record_bytes=1 << 16)
    assert decoder.decode(b"x\n1\n", is_last=False).columns == {"x": ["1"]}
    for _ in range(100):
        assert not decoder.decode(b"7" * (1 << 15), is_last=False).lines
    batch = decoder.decode(b"\n2\n", is_last=True)
    assert (list(batch.lines), batch.columns) == ([4], {"x": ["2"]})
    assert [reject.line for reject in batch.rejects] == [3]


def test_a_byte_order_mark_is_no_part_of_the_first_name_quoted_or_not():
    assert decoded("\ufeffx\n1\n", wanted=["x"])[0] == [(2, "1")]
    assert decoded('\ufeff"x"\n1\n', [1, 2], wanted=["x"])[0] == [(2, "1")]


def test_invalid_utf8_in_a_column_that_is_not_watched_is_nobodys_business():
    assert decoded(b"x,y\n1,\xff\n\xff,2\n", wanted=["x"])[0] == [(2, "1")]
    assert decoded(b"x,y\n1,\xff\n\xff,2\n", wanted=["x"])[1][0].line == 3


def test_blank_lines_are_no_records_but_have_numbers():
    assert decoded("\n\nx,y\n\n1,\n\n2,", wanted=["x"])[0] == [(5, "1"), (7, "2")]


ONE_COLUMN = st.lists(st.sampled_from(["1", "", '""', '"a\n\nb"']))


@given(ONE_COLUMN, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["x", '"x"']), st.lists(st.integers(0, 99)))
def test_in_a_file_of_one_column_a_blank_line_is_an_empty_field_but_at_the_end(rows, line_end, name, cuts):
    rows = [row.replace("\n", line_end) for row in rows]
    got, rejects = decoded(line_end.join([name, *rows, "2", "", ""]), cuts, ["x"])
    assert [field for _, field in got] == [*(row.strip('"') for row in rows), "2"]
    assert rejects == []


@pytest.mark.parametrize(("text", "said"), [("", "no header row"), ("\n\n", "no header row"), ('"x', "never closed")])
def test_a_file_without_a_header_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        decoded(text)
