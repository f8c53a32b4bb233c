import os
import subprocess
import sys
from subprocess import PIPE

import pytest

from benchmarks.flink import TASK_MANAGER, WORKERS, Meter, compared, confined, scaling


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


def test_a_worker_that_nobody_waited_for_is_counted() -> None:
    worker = (
        "import sys, time; [0 for _ in iter(lambda: time.process_time() > 0.3, True)]; print(1, flush=True); sys.stdin.read()"
    )
    runner = subprocess.Popen(["sh", "-c", f"{sys.executable} -c '{worker}'; true"], stdin=PIPE, stdout=PIPE)
    with runner:
        assert runner.stdout is not None
        meter = Meter({TASK_MANAGER: runner.pid})
        runner.stdout.readline()  # it has spent its time
        meter.look()
        runner.kill()  # and its worker with the end of its input
    meter.look()
    spent = meter.spent()
    assert 0.2 < spent[WORKERS] < 5.0
    assert spent[TASK_MANAGER] < spent[WORKERS]


def test_the_difference_of_two_runs_is_told_with_the_share_of_each_part() -> None:
    few = (20.0, {TASK_MANAGER: 10.0})
    many = (30.0, {TASK_MANAGER: 12.0, WORKERS: 6.0})
    told = compared(few, many, 10_000, 2)
    assert told["posts_per_second"] == 1_000
    assert told["posts_per_cpu_second"] == 1_250
    assert told["of_its_cores"] == 0.4
    assert told["cpu_ms_per_post"] == {TASK_MANAGER: 0.2, WORKERS: 0.6}
    assert compared(many, few, 10_000, 2)["of_its_cores"] is None
