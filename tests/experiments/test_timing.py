import time

from experiments.bench import timing


def test_rivals_take_turns_and_are_timed_separately():
    order = []

    def rival(name, seconds):
        def call():
            order.append(name)
            time.sleep(seconds)

        return call

    times = timing.interleaved(
        {"slow": rival("slow", 0.02), "fast": rival("fast", 0.002)},
        rounds=3, round_seconds=0.05, others_share=10.0,
    )  # fmt: skip
    turns = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    assert turns == ["slow", "fast"] * 4  # one untimed call, then three rounds
    assert 0.02 <= times["slow"].median < 0.2
    assert 0.002 <= times["fast"].median < times["slow"].median
    assert len(times["fast"].seconds) == 3
    assert not times["fast"].disturbed


def test_disturbed_rounds_are_reported():
    times = timing.interleaved({"a": lambda: None}, rounds=4, round_seconds=0.01, others_share=-1.0)
    assert times["a"].disturbed
    assert times["a"].summary()["rounds"] == 4


def test_percentiles_ascend():
    got = timing.percentiles(lambda i: time.sleep(0.001 * (i % 10 == 9)), calls=30)
    assert got["p50_ms"] <= got["p95_ms"] <= got["p99_ms"]
    assert got["p99_ms"] >= 1.0
