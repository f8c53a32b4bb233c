import codecs
import gzip
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.errors import ConfigurationError, InvalidRecord, Reason
from pipeline.times import epoch_ms
from producers.place import fingerprint
from producers.rows import Line, read_rows

ROWS = [{"a": "1", "b": '值,"x"'}, {"a": "2", "b": "y"}]
JSON = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = '\ufeffa,b\r\n1,"值,""x"""\r\n2,y\r\n'.encode()


def parquet(path: Path) -> bytes:
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), path)
    return path.read_bytes()


def rows_of(lines: list[Line]) -> list[object]:
    return [line.row for line in lines]


@pytest.mark.parametrize("name", ["f.jsonl", "f.csv", "f.parquet", "f.ndjson"])
@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_every_kind_gives_the_same_rows(tmp_path: Path, name: str, gzipped: bool, end: str) -> None:
    content = {"csv": CSV, "parquet": parquet(tmp_path / "p")}.get(name.split(".")[1], JSON)
    path = tmp_path / (name + end)
    path.write_bytes(gzip.compress(content) if gzipped else content)
    lines = list(read_rows(path))
    assert rows_of(lines) == ROWS
    assert [line.number for line in lines] == [1, 2]
    assert lines[-1].bytes_read == path.stat().st_size


@pytest.mark.parametrize("first", [b"", b"\n"])
def test_a_mark_before_utf_8_is_no_part_of_the_first_row(tmp_path: Path, first: bytes) -> None:
    (tmp_path / "f.jsonl").write_bytes(codecs.BOM_UTF8 + first + JSON)
    assert rows_of(list(read_rows(tmp_path / "f.jsonl"))) == ROWS


def test_a_bad_line_is_one_refusal_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": \n[1]\n"\\ud800"\n\xff\n{"a": 2}\n')
    lines = list(read_rows(path))
    assert [line.number for line in lines] == [1, 3, 4, 5, 6, 7]
    reasons = [line.row.reason for line in lines if isinstance(line.row, InvalidRecord)]
    assert reasons == [Reason.INVALID_JSON, Reason.WRONG_TYPE, Reason.INVALID_JSON, Reason.INVALID_JSON]


def test_a_csv_row_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,b\n1,2\n1,2,3\n4\n")
    good, bad, short = read_rows(path)
    assert good.row == {"a": "1", "b": "2"}
    assert isinstance(bad.row, InvalidRecord)
    assert "quote values that hold commas" in bad.row.fix
    assert short.row == {"a": "4", "b": None}


def test_a_csv_whose_first_column_has_no_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(",a\n0,x\n1,y\n")
    assert rows_of(list(read_rows(path))) == [{"": "0", "a": "x"}, {"": "1", "a": "y"}]


def test_a_csv_cell_that_is_no_utf8_or_too_long_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b"a,b\n1,caf\xe9\n2," + b"x" * 4_000_001 + b"\n3,good\n")
    latin, long, good = read_rows(path)
    assert isinstance(latin.row, InvalidRecord)
    assert (latin.row.field, latin.row.value) == ("b", "caf\ufffd")
    assert "UTF-8" in latin.row.fix
    assert isinstance(long.row, InvalidRecord)
    assert long.row.reason is Reason.TOO_LARGE
    assert (good.number, good.row) == (3, {"a": "3", "b": "good"})


def broken_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS * 1_000), sink, use_dictionary=False, compression="gzip")
    content = bytearray(sink.getvalue().to_pybytes())
    content[20:120] = bytes(100)
    return bytes(content)


def broken_gzip() -> bytes:
    content = bytearray(gzip.compress(JSON * 1000))
    content[30:60] = b"\xff" * 30
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.xlsx", b"", "of no known kind"),
        ("f.jsonl.gz", gzip.compress(JSON * 1000)[:-20], "is damaged"),
        ("f.jsonl.gz", broken_gzip(), r"f\.jsonl\.gz is damaged"),
        ("f.parquet", b"PAR", r"f\.parquet is damaged: no Parquet"),
        ("f.parquet", broken_parquet(), r"f\.parquet is damaged"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        list(read_rows(tmp_path / name))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.csv does not exist; check the path"):
        list(read_rows(tmp_path / "absent.csv"))


def refused_and_rest(path: Path, text: str) -> tuple[list[InvalidRecord], list[object]]:
    path.write_text(text)
    rows = rows_of(list(read_rows(path)))
    return [row for row in rows if isinstance(row, InvalidRecord)], [row for row in rows if not isinstance(row, InvalidRecord)]


@pytest.mark.parametrize("broken", ['1,"x', '1,"x"y', '"1"1,"x'])
@pytest.mark.parametrize("after", ["2,y\n3,z\n", '2,y\n3,"z"\n', ""])
def test_a_quote_that_is_not_closed_takes_no_other_row_with_it(tmp_path: Path, broken: str, after: str) -> None:
    refused, rest = refused_and_rest(tmp_path / "f.csv", f"a,b\n0,w\n{broken}\n{after}")
    assert [(each.reason, each.value) for each in refused] == [(Reason.INVALID_VALUE, broken)]
    assert "close the quotes of the cell" in refused[0].fix
    assert rest == [{"a": "0", "b": "w"}, *([{"a": "2", "b": "y"}, {"a": "3", "b": "z"}] if after else [])]


def test_an_empty_line_before_an_open_quote_is_no_row(tmp_path: Path) -> None:
    refused, rest = refused_and_rest(tmp_path / "f.csv", 'a,b\n\n\r\n1,"x\n\n2,y\n')
    assert ([each.value for each in refused], rest) == (['1,"x'], [{"a": "2", "b": "y"}])


def test_every_row_of_a_file_full_of_open_quotes_is_refused_by_itself(tmp_path: Path) -> None:
    refused, rest = refused_and_rest(tmp_path / "f.csv", "a,b\n" + '1,"x\n' * 500 + "2,y\n")
    assert (len(refused), rest) == (500, [{"a": "2", "b": "y"}])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b,a\n1,2,3\n", "names 'a' twice.*name each column once"),
        ("a,b\n1,2\n".encode("utf-16"), "header is no UTF-8; save the file as UTF-8"),
        (b'a,"b\n1,2\n', "header cannot be read .*close its quotes"),
    ],
)
def test_a_header_that_would_misname_cells_is_an_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"f\.csv: its .*{said}"):
        list(read_rows(tmp_path / "f.csv"))


def test_columns_without_a_name_may_be_many(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("a,,\n1,2,3\n")
    assert rows_of(list(read_rows(tmp_path / "f.csv"))) == [{"a": "1", "": "3"}]


def written(path: Path, **columns: pa.Array) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_a_parquet_time_with_nanoseconds_is_cut_to_microseconds(tmp_path: Path, zone: str | None) -> None:
    nanoseconds = pa.array([1_704_067_200_123_456_789, None], pa.timestamp("ns", zone))
    first, none = rows_of(list(read_rows(written(tmp_path / "f.parquet", t=nanoseconds))))
    assert isinstance(first, dict)
    assert epoch_ms(first["t"]) == 1_704_067_200_123
    assert none == {"t": None}


def test_a_parquet_value_that_python_has_no_form_for_is_refused_alone(tmp_path: Path) -> None:
    latin = pa.array([b"\xe9", b"", b""]).view(pa.string())
    times = pa.array([0, 2**62, 0], pa.timestamp("us"))
    text, time, good = rows_of(list(read_rows(written(tmp_path / "f.parquet", b=latin, t=times))))
    assert isinstance(text, InvalidRecord)
    assert isinstance(time, InvalidRecord)
    assert (text.field, time.field, good) == ("b", "t", {"b": "", "t": datetime.fromisoformat("1970-01-01")})
    assert "UTF-8" in text.fix


def test_a_file_that_the_system_does_not_give_is_named(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.symlink_to("/proc/self/mem")  # a file whose first byte nobody may read
    for read in (fingerprint, lambda path: list(read_rows(path))):
        with pytest.raises(ConfigurationError, match=r"f\.csv cannot be read \(.*error\); check its permissions"):
            read(path)
