"""From the engine to the broker and back: what both shells, live and backtest, do with commands."""

from collections.abc import Callable

from runtime.commands import AmendOrder, CancelOrder, Command, Submit
from runtime.engine import Engine
from runtime.trading.broker import Broker


def carry_out(
    commands: list[Command],
    now: int,
    engine: Engine,
    broker: Broker,
    other: Callable[[Command], None],
) -> None:
    """Do what the engine asks, and tell it what came of it, until nothing more comes.

    Args:
        commands: in their order.
        now: engine time, ns UTC.
        engine: told the broker's reports.
        broker: given the orders.
        other: does every command that is not about an order.

    Raises:
        StrategyError: a callback of the strategy raised.
    """
    while True:
        for command in commands:
            match command:
                case Submit(approved):
                    broker.submit(approved, now)
                case AmendOrder(approved):
                    broker.amend(approved, now)
                case CancelOrder(order_id):
                    broker.cancel(order_id, now)
                case _:
                    other(command)
        reports = broker.take_updates()
        if not reports:
            return
        commands = engine.process(reports, now)


def earliest(*times: int | None) -> int | None:
    """Return the first of some times, ns; None where there is none."""
    return min((time for time in times if time is not None), default=None)
