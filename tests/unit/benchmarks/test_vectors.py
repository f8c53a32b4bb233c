import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.vectors import Vectors, majority, neighbours, pairs

PLACES = {"north": (1.0, 0.0), "south": (0.0, 1.0)}


def by_first_word(texts: Sequence[str]) -> Vectors:
    return np.array([PLACES[text.split()[0]] for text in texts], dtype=np.float32)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def test_the_majority_counts_and_among_equals_the_nearest() -> None:
    assert majority(np.array(["a", "b", "b"])) == "b"
    assert majority(np.array(["b", "a", "a", "b", "c"])) == "b"


def test_texts_get_the_class_of_their_neighbours(tmp_path: Path) -> None:
    rows = [{"text": f"{word} {place}", "label": word} for word in PLACES for place in range(6)]
    write(tmp_path / "set.train.jsonl.gz", rows)
    write(tmp_path / "set.dev.jsonl.gz", [{"text": "north x", "label": "north"}, {"text": "south y", "label": "north"}])
    assert neighbours(by_first_word, tmp_path, "set", 12) == 0.5


def test_entailed_pairs_rank_first_where_their_vectors_agree(tmp_path: Path) -> None:
    write(
        tmp_path / "pairs.jsonl.gz",
        [
            {"premise": "north a", "hypothesis": "north b", "label": "entailment"},
            {"premise": "south a", "hypothesis": "north c", "label": "contradiction"},
            {"premise": "south b", "hypothesis": "north d", "label": "neutral"},
        ],
    )
    assert pairs(by_first_word, tmp_path / "pairs.jsonl.gz", 10) == {"mrr": 1.0, "auroc": 1.0}


def test_a_premise_that_stands_in_several_pairs_is_one_candidate(tmp_path: Path) -> None:
    rows = [{"premise": "north a", "hypothesis": f"north {place}", "label": "entailment"} for place in range(3)]
    rows += [{"premise": f"south {place}", "hypothesis": "south", "label": "contradiction"} for place in range(2)]
    write(tmp_path / "pairs.jsonl.gz", rows)
    asked: list[int] = []

    def counting(texts: Sequence[str]) -> Vectors:
        asked.append(len(texts))
        return by_first_word(texts)

    assert pairs(counting, tmp_path / "pairs.jsonl.gz", 10)["mrr"] == 1.0
    assert asked == [5, 3]
