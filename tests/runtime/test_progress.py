"""How far, how fast, how long yet."""

from runtime.progress import PaceMeter


def test_rate_and_time_left() -> None:
    meter = PaceMeter(1000, 2000, now=50.0)
    first = meter.look(1250, 500, 55.0)
    assert (first.fraction, first.rate, first.seconds_left) == (0.25, 100.0, 15.0)
    second = meter.look(1500, 2500, 60.0)
    assert (second.fraction, second.rate, second.seconds_left) == (0.5, 400.0, 10.0)
    assert meter.look(9999, 2500, 61.0).seconds_left == 0


def test_without_an_end_there_is_a_rate_only() -> None:
    pace = PaceMeter(1000, None, now=0.0).look(1250, 500, 2.0)
    assert (pace.fraction, pace.rate, pace.seconds_left) == (None, 250.0, None)


def test_the_first_look_says_nothing_yet() -> None:
    pace = PaceMeter(1000, 2000, now=5.0).look(1000, 0, 5.0)
    assert (pace.fraction, pace.rate, pace.seconds_left) == (0.0, 0.0, None)
