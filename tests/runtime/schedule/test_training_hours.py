"""When training has to wait for a market to close."""

from feeds.events import AssetClass, Symbol
from runtime.schedule.calendars import market_of
from runtime.schedule.training_hours import TrainingHours
from tests.runtime.schedule.kit import CLASSES, utc


def hours(*symbols: str) -> TrainingHours:
    return TrainingHours({Symbol(symbol): market_of(CLASSES[symbol]) for symbol in symbols})


def looks(of: TrainingHours, start: str, count: int) -> list[int]:
    """The next moments at which it asks to be asked."""
    found: list[int] = []
    moment = utc(start) - 1
    while len(found) < count and (look := of.next_look(moment)) is not None:
        found.append(look)
        moment = look
    return found


def test_training_waits_while_the_market_is_open() -> None:
    spy = hours("SPY")
    assert not spy.must_wait(utc("2013-07-03 13:29"))
    assert spy.must_wait(utc("2013-07-03 13:30"))
    assert not spy.must_wait(utc("2013-07-03 17:00"))  # a half day


def test_it_asks_at_once_and_then_at_each_open_and_close() -> None:
    assert looks(hours("SPY"), "2013-07-03 09:00", 4) == [
        utc("2013-07-03 09:00"),
        utc("2013-07-03 13:30"),
        utc("2013-07-03 17:00"),
        utc("2013-07-05 13:30"),
    ]


def test_of_several_markets_all_have_to_be_closed() -> None:
    both = hours("SPY", "EUR/USD")
    assert both.must_wait(utc("2013-07-04 15:00"))  # a holiday of the one, a day of the other
    assert not both.must_wait(utc("2013-07-06 15:00"))
    assert looks(both, "2013-07-05 19:00", 4)[1:] == [
        utc("2013-07-05 20:00"),
        utc("2013-07-05 21:00"),
        utc("2013-07-07 21:00"),
    ]


def test_a_market_that_never_closes_is_named_and_not_waited_for() -> None:
    mixed = hours("BTC/USD", "SPY")
    assert mixed.always_open == ["BTC/USD"]
    assert not mixed.must_wait(utc("2013-07-03 13:29"))
    only = hours("BTC/USD")
    assert not only.must_wait(utc("2013-07-03 15:00"))
    assert looks(only, "2013-07-03", 3) == [utc("2013-07-03")]
    assert market_of(AssetClass.CRYPTO).never_closes
