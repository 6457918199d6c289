"""Fault switches decide by seed and count alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import ConfigError
from feeds.venue.faults import Fault, FaultPlan, Faults, Shaper, What, Where, make_plan, read_plan


def faults(*rules: Fault, seed: int = 1) -> Faults:
    return Faults(FaultPlan(seed, rules))


def shaped(rule: Fault, count: int = 4) -> list[tuple[bytes, ...]]:
    shaper = Shaper(faults(rule), Where.UPDATES)
    return [shaper.take(b"%d" % n).frames for n in range(count)]


def test_a_rule_lets_some_pass_then_strikes_so_many_times() -> None:
    it = faults(Fault(What.LOSE_ACK, after=2, count=1, request="POST /v2/orders"))
    struck = [it.on_request("POST", "/v2/orders", 0) is not None for _ in range(5)]
    assert struck == [False, False, True, False, False]
    assert it.on_request("GET", "/v2/orders", 0) is None
    assert it.statistics()["struck"] == [1]


def test_frames_are_dropped_repeated_and_put_behind_the_next() -> None:
    u = Where.UPDATES
    assert shaped(Fault(What.DROP, u, after=1, count=1)) == [(b"0",), (), (b"2",), (b"3",)]
    assert shaped(Fault(What.REPEAT, u, count=1))[:2] == [(b"0", b"0"), (b"1",)]
    assert shaped(Fault(What.REORDER, u, count=1))[:2] == [(), (b"1", b"0")]


def test_a_stall_is_deaf_and_a_cut_sends_nothing() -> None:
    stall = Shaper(faults(Fault(What.STALL, Where.DATA, seconds=3)), Where.DATA).take(b"x")
    assert (stall.deaf, stall.wait, stall.frames) == (True, 3, (b"x",))
    cut = Shaper(faults(Fault(What.CUT, Where.DATA)), Where.DATA).take(b"x")
    assert (cut.cut, cut.frames) == (True, ())
    slow = Shaper(faults(Fault(What.REFUSE, Where.DATA, code=407)), Where.DATA).take(b"x")
    assert slow.slow_client


def test_keys_are_no_good_until_the_time_is_over() -> None:
    it = faults(Fault(What.AUTH_EXPIRY, seconds=2, count=1))
    assert it.on_request("GET", "/v2/account", 0) is not None
    assert it.is_expired(1_999_999_999)
    assert it.on_request("GET", "/v2/account", 2_000_000_000) is None


def test_a_login_is_refused_with_406_only_by_its_own_rule() -> None:
    assert faults(Fault(What.REFUSE, Where.DATA, code=406)).on_login(Where.DATA) == 406
    assert faults(Fault(What.REFUSE, Where.DATA, code=407)).on_login(Where.DATA) is None


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 200))
def test_the_same_seed_does_the_same(seed: int, chance: float, count: int) -> None:
    rule = Fault(What.DROP, Where.UPDATES, chance=chance)
    one, two = faults(rule, seed=seed), faults(rule, seed=seed)
    assert [bool(one.on_frame(Where.UPDATES)) for _ in range(count)] == [
        bool(two.on_frame(Where.UPDATES)) for _ in range(count)
    ]


@given(
    st.lists(st.sampled_from(["drop", "repeat", "reorder"]).map(What), max_size=3),
    st.integers(0, 9),
    st.integers(1, 40),
)
def test_a_frame_is_never_invented(kinds: list[What], seed: int, count: int) -> None:
    rules = tuple(Fault(kind, Where.UPDATES, chance=0.4) for kind in kinds)
    shaper = Shaper(faults(*rules, seed=seed), Where.UPDATES)
    sent = [b"%d" % n for n in range(count)]
    came = [frame for each in sent for frame in shaper.take(each).frames]
    assert set(came) <= set(sent)
    if What.REPEAT not in kinds:
        assert len(set(came)) == len(came)
    if not kinds:
        assert came == sent


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault", "is not valid TOML"),
        ("[[fault]]\nwhat = 'drip'", "drip"),
        ("[[fault]]\nwhat = 'drop'\nchanse = 1", "chanse"),
        ("[[fault]]\nwhat = 'drop'", "where is rest: data, updates is allowed"),
        ("[[fault]]\nwhat = 'lose_ack'\nwhere = 'data'", "rest is allowed"),
        ("[[fault]]\nwhat = 'lose_ack'\nchance = 1.5", "0 to 1 is allowed"),
        ("[[fault]]\nwhat = 'refuse'\nwhere = 'data'", "406 or 407"),
        ("[[fault]]\nwhat = 'refuse'\ncode = 99", "400 to 599"),
        ("[[fault]]\nwhat = 'partial'\nsize = 0.0", "more than 0"),
        ("[[fault]]\nwhat = 'slow_ack'\nseconds = -1.0", "0 to 86400"),
    ],
)
def test_a_file_that_is_wrong_is_told_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        read_plan(text, "faults.toml")
    assert str(told.value).startswith("faults.toml")


def test_a_file_is_read_as_it_says() -> None:
    plan = read_plan("seed = 3\n[[fault]]\nwhat = 'lose_ack'\ncount = 2\n", "f")
    assert plan == make_plan({"seed": 3, "fault": [{"what": "lose_ack", "count": 2}]}, "f")
    assert plan.fault == (Fault(What.LOSE_ACK, count=2),)
