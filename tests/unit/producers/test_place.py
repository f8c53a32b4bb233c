import json
import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, InvalidRecord, Reason
from producers.place import Place, fingerprint
from producers.rejects import RejectFile
from producers.rows import Line


def test_a_place_is_kept_until_cleared(tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.write_text("rows")
    place = Place.of(tmp_path / "places", source, "m", "posts")
    assert place.load() == 0
    place.save(17)
    assert Place.of(tmp_path / "places", source, "m", "posts").load() == 17
    place.clear()
    place.clear()
    assert place.load() == 0


def test_another_file_mapping_or_topic_has_another_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("rows")
    two.write_text("Rows")
    places = {
        Place.of(tmp_path, one, "m", "posts"),
        Place.of(tmp_path, two, "m", "posts"),
        Place.of(tmp_path, one, "n", "posts"),
        Place.of(tmp_path, one, "m", "p.posts"),
    }
    assert len(places) == len({place.short for place in places}) == 4


def test_a_large_file_is_told_apart_by_its_end(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"x" * 3_000_000 + b"1")
    two.write_bytes(b"x" * 3_000_000 + b"2")
    assert fingerprint(one) != fingerprint(two)


def test_a_damaged_position_file_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path / "p.json")
    place.path.write_text("{")
    with pytest.raises(ConfigurationError, match=r"p\.json is damaged; remove it"):
        place.load()


def refuse(file: RejectFile, number: int) -> None:
    file.write(Line(number, {"a": "值"}, 0), InvalidRecord(Reason.WRONG_TYPE, "a", "值", "mend it"))


def test_refused_rows_of_earlier_lines_are_kept_by_a_run_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.jsonl"
    with RejectFile(path) as file:
        assert not path.exists()
        for number in (3, 8, 12):
            refuse(file, number)
    with RejectFile(path, keep_through_line=8) as file:
        refuse(file, 12)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ['{"line": 3', '{"line": 8', '{"line": 12']
    with RejectFile(path):
        pass
    assert not path.exists()


def test_a_reject_file_whose_last_line_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with RejectFile(path) as file:
        refuse(file, 1)
    with path.open("a") as torn:
        torn.write('{"line": 2, "rea')
    with RejectFile(path, keep_through_line=1) as file:
        refuse(file, 2)
    assert [json.loads(line)["line"] for line in path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("content", [b'{"t": 1, "text": "a post"}\n', b"a,b\n1,2\n", b'{"line": 1}\n{"t": 2}\n', b"\xff\xfe\n"])
def test_a_file_of_other_things_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"--rejects .*posts\.jsonl holds what are no refused rows.*name another file"):
        RejectFile(path)
    assert path.read_bytes() == content


def test_a_reject_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/proc/none/r.jsonl")):
        with pytest.raises(ConfigurationError, match=r"(cannot|can) be written"):
            RejectFile(path)
    full = RejectFile(tmp_path / "r.jsonl")
    full.path.symlink_to("/dev/full")
    refuse(full, 1)
    with pytest.raises(ConfigurationError, match=r"r\.jsonl \(No space left on device\); make room, or name another"):
        full.flush()
    with pytest.raises(ConfigurationError), full:
        pass


def test_a_device_takes_refused_rows_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with RejectFile(pipe) as file:
        refuse(file, 1)
    assert os.read(reader, 100).startswith(b'{"line": 1')
    os.close(reader)
    assert pipe.is_fifo()
