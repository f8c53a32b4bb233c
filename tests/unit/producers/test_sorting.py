import gzip
import json
from pathlib import Path

import pytest

from producers.mapping import compile_mapping
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
