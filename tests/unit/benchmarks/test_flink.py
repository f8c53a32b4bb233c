import os
import subprocess
import sys

import pytest

from benchmarks.flink import confined, scaling


def test_scaling_is_the_ratio_of_rates_and_unknown_where_noise_swallowed_one() -> None:
    one = {"posts_per_second": 2_000, "posts_per_cpu_second": 5_000}
    two = {"posts_per_second": 3_600, "posts_per_cpu_second": None}
    assert scaling(one, two) == {"wall": 1.8, "cpu": None}


def test_what_is_started_while_confined_has_so_many_cores_and_no_more() -> None:
    allowed = os.sched_getaffinity(0)
    with confined(1):
        told = subprocess.run(
            [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"], capture_output=True, check=True
        )
    assert int(told.stdout) == 1
    assert os.sched_getaffinity(0) == allowed
    with pytest.raises(ValueError, match="cores"), confined(len(allowed) + 1):
        pass
