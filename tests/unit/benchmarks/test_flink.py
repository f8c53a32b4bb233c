from benchmarks.flink import scaling


def test_scaling_is_the_ratio_of_rates_and_unknown_where_noise_swallowed_one() -> None:
    one = {"posts_per_second": 2_000, "posts_per_cpu_second": 5_000}
    two = {"posts_per_second": 3_600, "posts_per_cpu_second": None}
    assert scaling(one, two) == {"wall": 1.8, "cpu": None}
