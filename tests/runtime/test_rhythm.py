"""A symbol is stale by its own pace, and by no other's."""

from feeds.events import SECOND
from runtime.rhythm import BEATS_NEEDED, PAUSES_ALLOWED, SHORTEST, Rhythm


def beating(pause: int, beats: int = 50) -> Rhythm:
    rhythm = Rhythm()
    for beat in range(beats):
        rhythm.beat(beat * pause)
    return rhythm


def test_a_slow_symbol_is_given_the_time_that_a_busy_one_is_not() -> None:
    busy, slow = beating(SECOND // 10), beating(60 * SECOND)
    assert busy.is_stale(busy.last + SHORTEST + 1)
    assert not slow.is_stale(slow.last + PAUSES_ALLOWED * 60 * SECOND)
    assert slow.is_stale(slow.last + PAUSES_ALLOWED * 60 * SECOND + 1)


def test_no_silence_below_the_shortest_counts() -> None:
    rhythm = beating(1000)
    assert not rhythm.is_stale(rhythm.last + SHORTEST)


def test_what_has_hardly_been_heard_is_not_stale() -> None:
    rhythm = beating(SECOND, BEATS_NEEDED - 1)
    assert not rhythm.is_stale(10**18)
    rhythm.beat(rhythm.last + SECOND)
    assert rhythm.is_stale(10**18)


def test_data_ends_it_and_the_pace_follows() -> None:
    rhythm = beating(SECOND)
    rhythm.beat(rhythm.last + 3600 * SECOND)
    assert not rhythm.is_stale(rhythm.last + SECOND)
    for _ in range(200):
        rhythm.beat(rhythm.last + SECOND)
    assert abs(rhythm.pause - SECOND) < SECOND / 100
