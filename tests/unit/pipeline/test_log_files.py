from pathlib import Path

from pipeline.log_files import cut, turn_over


def test_a_log_within_the_bound_stays_and_one_that_is_not_there_is_none(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for bound in (turn_over, cut):
        bound(log, 3)
    log.write_bytes(b"abc")
    for bound in (turn_over, cut):
        bound(log, 3)
    assert [each.name for each in tmp_path.iterdir()] == ["a.log"]


def test_what_writes_to_a_log_that_is_cut_goes_on_in_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        for line in (b"first", b"second", b"third"):
            writer.write(line)
            cut(log, 3)
        writer.write(b"on")
    assert (log.read_bytes(), (tmp_path / "a.log.1").read_bytes()) == (b"on", b"third")


def test_a_full_disk_leaves_the_log_as_it_is_and_ends_nobody(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"first")
    (tmp_path / "a.log.1").symlink_to("/dev/full")
    cut(log, 3)
    assert log.read_bytes() == b"first"
