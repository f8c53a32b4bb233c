"""Put the rows of a file into event-time order."""

import json
from pathlib import Path

from pipeline.adapters.json_lines import write_lines
from pipeline.errors import InvalidRecord
from producers.mapping import FieldMapping
from producers.rows import read_rows


def sort_file(source: Path, mapping: FieldMapping, target: Path) -> tuple[int, int]:
    """Write the rows of ``source`` as JSON lines in event-time order; return how many, and how many were left out.

    Rows of the same time keep their order. A row that cannot be read is left out. Everything is held in memory, about
    one kilobyte a row. ``target`` may be ``source``: it is replaced at the end, as a whole. Raises ConfigurationError.
    """
    rows: list[tuple[int, int, str]] = []
    bad = 0
    for line in read_rows(source):
        if isinstance(line.row, InvalidRecord):
            bad += 1
            continue
        time_ms = mapping.apply(line.row).get("event_time_ms")
        text = json.dumps(line.row, ensure_ascii=False, default=str)  # a mapping reads dates as str writes them
        rows.append((time_ms if isinstance(time_ms, int) else 0, line.number, text))
    rows.sort()
    write_lines(target, (text.encode() for _, _, text in rows))
    return len(rows), bad
