import gzip
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pipeline.errors import ConfigurationError
from producers.mapping import FieldMapping, compile_mapping
from producers.rows import read_rows
from producers.sorting import sort_file

MAPPING = compile_mapping(
    {
        "contract": "behavior",
        "fields": {"event_time_ms": {"from": "s", "unit": "s"}, "user_id": "u", "action": {"const": "view"}},
    },
    "m",
)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_rows_come_in_event_time_order_and_keep_their_order_within_one_time(tmp_path: Path, name: str) -> None:
    source = tmp_path / "f.jsonl"
    times = [5, 3, 5, 1, 3]
    source.write_text("".join(json.dumps({"s": s, "u": f"值{i}"}) + "\n" for i, s in enumerate(times)) + "{broken\n")
    assert sort_file(source, MAPPING, tmp_path / name) == (5, 1)
    content = (tmp_path / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith("gz") else content).decode()
    assert [json.loads(line)["u"] for line in text.splitlines()] == ["值3", "值1", "值4", "值0", "值2"]


@pytest.mark.parametrize("unit", ["ms", "s", "us", "iso"])
@pytest.mark.parametrize("zone", [None, "UTC", "+08:00"])
def test_the_dates_of_a_parquet_file_are_read_as_before_once_they_are_sorted(tmp_path: Path, unit: str, zone: str | None) -> None:
    """Also those that a template writes out, since ids are made of content."""
    fields = {"event_time_ms": {"from": "at", "unit": unit}, "author_id": "u", "text": {"template": "said at {at}"}}
    mapping = compile_mapping({"contract": "post", "fields": fields}, "m")
    here = None if zone is None else UTC if zone == "UTC" else timezone(timedelta(hours=8))
    times = [datetime(2020, 1, day, 3, 4, 5, 678_000, tzinfo=here) for day in (2, 1)]
    table = pyarrow.table({"at": pyarrow.array(times, pyarrow.timestamp("ms", zone)), "u": ["x", "y"]})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    assert sort_file(tmp_path / "f.parquet", mapping, tmp_path / "f.jsonl") == (2, 0)
    before = mapped(tmp_path / "f.parquet", mapping)
    assert mapped(tmp_path / "f.jsonl", mapping) == before[::-1]
    assert {row["event_time_ms"] % 1_000 for row in before} == {678}


def mapped(path: Path, mapping: FieldMapping) -> list[dict[str, Any]]:
    return [mapping.apply(line.row) for line in read_rows(path) if isinstance(line.row, dict)]


def test_a_file_may_take_its_own_place_and_stays_whole_where_it_cannot(tmp_path: Path) -> None:
    source = tmp_path / "f.jsonl"
    source.write_text('{"s": 2, "u": "b"}\n{"s": 1, "u": "a"}\n')
    assert sort_file(source, MAPPING, source) == (2, 0)
    assert source.read_text() == '{"s": 1, "u": "a"}\n{"s": 2, "u": "b"}\n'
    for target in (tmp_path, Path("/proc/none/f.jsonl")):
        with pytest.raises(ConfigurationError, match=r"cannot be written \(.*\); make room, or choose another place"):
            sort_file(source, MAPPING, target)
