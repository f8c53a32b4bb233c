import numpy as np

from workers.training.sampling import batches


def test_batches_hold_each_set_in_its_share_and_repeat_exactly() -> None:
    lengths = [np.full(1000, 10), np.full(10, 10)]
    feed = batches(lengths, [3, 1], 400, seed=1)
    picks = [pick for _ in range(100) for pick in next(feed)]
    share = sum(chosen == 0 for chosen, _ in picks) / len(picks)
    assert 0.72 < share < 0.78
    again = batches(lengths, [3, 1], 400, seed=1)
    assert [pick for _ in range(100) for pick in next(again)] == picks
    rows = [row for chosen, row in picks if chosen == 1][:10]
    assert sorted(rows) == list(range(10))
