"""The statistics of a run: what each is called, how it is read, what it means, in one table.

Names are LEAN's where LEAN has the number. One that has no meaning is None, never a 0 that could
be taken for a result: no trades have no win rate, one sample has no volatility.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from runtime.report.drawdown import Drawdown
from runtime.report.returns import (
    ReturnStatistics,
    annual_return,
    describe_returns,
    net_profit,
)
from runtime.report.sampling import Sampling, TradingYear
from runtime.report.trades import Trade
from runtime.results import FillRow, Sample

NS_A_DAY = 86_400_000_000_000


class Books(msgspec.Struct, frozen=True):
    """What statistics are made of.

    Attributes:
        closes: the account at the beginning, then at the end of each period that had data.
        sampling: the length of a period.
        year: how many periods make a year.
        days: dates that had data.
        drawdown: the worst one, of all samples.
        invested: share of the time in which anything was held.
        gross: what was held, as a mean share of the equity.
        fills: in their order.
        trades: what they came to.
        orders: how many there were.
    """

    closes: Sequence[Sample]
    sampling: Sampling
    year: TradingYear
    days: int
    drawdown: Drawdown
    invested: float | None
    gross: float | None
    fills: Sequence[FillRow]
    trades: Sequence[Trade]
    orders: int


class TradeStatistics(msgspec.Struct, frozen=True):
    """Of the closed trades. A win is a profit above 0 after fees; a profit of 0 is neither.

    `average_win` and `average_loss` are shares of what the account had before the trade, as in
    LEAN: the starting equity and the profits of the trades before.
    """

    count: int = 0
    win_rate: float | None = None
    loss_rate: float | None = None
    average_win: float | None = None
    average_loss: float | None = None
    profit_loss_ratio: float | None = None
    profit_factor: float | None = None
    expectancy: float | None = None


def describe_trades(trades: Sequence[Trade], capital: Decimal) -> TradeStatistics:
    """Describe closed trades, in order of their end; `capital` is what there was at the start."""
    if not trades:
        return TradeStatistics()
    wins: list[float] = []
    losses: list[float] = []
    gained = lost = Decimal(0)
    is_broke = False
    for trade in trades:
        is_broke = is_broke or capital <= 0
        share = 0.0 if is_broke else float(trade.profit / capital)
        if trade.profit > 0:
            wins.append(share)
            gained += trade.profit
        elif trade.profit < 0:
            losses.append(share)
            lost -= trade.profit
        capital += trade.profit
    count = len(trades)
    win_rate, loss_rate = len(wins) / count, len(losses) / count
    average_win = None if is_broke or not wins else sum(wins) / len(wins)
    average_loss = None if is_broke or not losses else sum(losses) / len(losses)
    ratio = average_win / -average_loss if average_win and average_loss else None
    return TradeStatistics(
        count=count,
        win_rate=win_rate,
        loss_rate=loss_rate,
        average_win=average_win,
        average_loss=average_loss,
        profit_loss_ratio=ratio,
        profit_factor=float(gained / lost) if lost else None,
        expectancy=None if ratio is None else win_rate * ratio - loss_rate,
    )


def turnover(fills: Sequence[FillRow], closes: Sequence[Sample], days: int) -> float | None:
    """Return what was bought and sold on a mean day, as a share of the equity at each close."""
    if not closes or not days:
        return None
    equity = np.array([close.equity for close in closes[1:] or closes], dtype=np.float64)
    if bool(np.any(equity <= 0)):
        return None
    ends = np.array([close.time for close in closes[1:] or closes])
    times = np.array([fill.time for fill in fills], dtype=np.int64)
    values = np.array([float(f.quantity) * float(f.price) * float(f.rate) for f in fills])
    place = np.minimum(np.searchsorted(ends, times), len(ends) - 1)
    return float(np.sum(values / equity[place])) / days


class Kind(StrEnum):
    """How a number is read."""

    MONEY = "money"
    SHARE = "share"
    RATIO = "ratio"
    COUNT = "count"
    SPAN = "span"  # seconds


class Statistic(NamedTuple):
    """One statistic: how it is read, what it means in one line, and whether LEAN has it."""

    kind: Kind
    meaning: str
    is_lean: bool = True


STATISTICS: Mapping[str, Statistic] = {
    "Start Equity": Statistic(Kind.MONEY, "the account at the beginning"),
    "End Equity": Statistic(Kind.MONEY, "the account at the end, what is held at its last price"),
    "Net Profit": Statistic(Kind.SHARE, "gain or loss, as a share of the start equity"),
    "Compounding Annual Return": Statistic(
        Kind.SHARE, "the yearly rate that compounds to the net profit, in years of 365 days"
    ),
    "Drawdown": Statistic(Kind.SHARE, "the deepest fall from a peak, as a share of the peak"),
    "Drawdown Length": Statistic(
        Kind.SPAN, "the longest time from a peak until it was reached again, or the end", False
    ),
    "Sharpe Ratio": Statistic(
        Kind.RATIO, "mean return over its standard deviation, annualised by the square root"
    ),
    "Sortino Ratio": Statistic(
        Kind.RATIO, "mean return over the root mean square of the returns below 0, annualised"
    ),
    "Probabilistic Sharpe Ratio": Statistic(
        Kind.SHARE, "the probability that the true Sharpe ratio is above 1"
    ),
    "Calmar Ratio": Statistic(Kind.RATIO, "compounding annual return over drawdown", False),
    "Annual Standard Deviation": Statistic(Kind.SHARE, "volatility: of the returns, annualised"),
    "Annual Variance": Statistic(Kind.RATIO, "its square"),
    "Best Return": Statistic(Kind.SHARE, "the best period", False),
    "Worst Return": Statistic(Kind.SHARE, "the worst period", False),
    "Total Orders": Statistic(Kind.COUNT, "orders placed, refused ones included"),
    "Total Trades": Statistic(
        Kind.COUNT, "positions opened by one order and closed by another", False
    ),
    "Win Rate": Statistic(Kind.SHARE, "trades with a profit after fees"),
    "Loss Rate": Statistic(Kind.SHARE, "trades with a loss after fees"),
    "Average Win": Statistic(Kind.SHARE, "mean profit of a winning trade, of the account before"),
    "Average Loss": Statistic(Kind.SHARE, "mean loss of a losing trade, of the account before"),
    "Profit-Loss Ratio": Statistic(Kind.RATIO, "average win over average loss"),
    "Profit Factor": Statistic(Kind.RATIO, "sum of all profits over sum of all losses", False),
    "Expectancy": Statistic(Kind.RATIO, "win rate times profit-loss ratio, less loss rate"),
    "Total Fees": Statistic(Kind.MONEY, "paid for all fills; below 0 where rebates are more"),
    "Portfolio Turnover": Statistic(
        Kind.SHARE, "bought and sold on a mean day, as a share of the equity"
    ),
    "Exposure": Statistic(Kind.SHARE, "share of the market's time with a position", False),
    "Gross Exposure": Statistic(
        Kind.SHARE, "mean of what was held, long and short, as a share of the equity", False
    ),
    "Trading Days": Statistic(Kind.COUNT, "dates that had data", False),
    "Returns": Statistic(Kind.COUNT, "periods that the ratios are made of", False),
}
"""Every statistic, in the order in which it is shown."""

Statistics = dict[str, float | None]
"""By name, in the order and with the names of STATISTICS."""


def statistics_of(books: Books) -> Statistics:
    """Make every statistic of a run."""
    closes = books.closes
    equity = np.array([close.equity for close in closes], dtype=np.float64)
    start, end = (closes[0], closes[-1]) if closes else (None, None)
    gain = annual = None
    returns = ReturnStatistics()
    if start is not None and end is not None:
        gain = net_profit(start.equity, end.equity)
        annual = annual_return(start.equity, end.equity, end.time - start.time)
        returns = describe_returns(equity, books.year.periods(books.sampling))
    depth = books.drawdown.depth
    trades = describe_trades(books.trades, Decimal(repr(start.equity)) if start else Decimal(0))
    found: dict[str, float | None] = {
        "Start Equity": None if start is None else start.equity,
        "End Equity": None if end is None else end.equity,
        "Net Profit": gain,
        "Compounding Annual Return": annual,
        "Drawdown": depth,
        "Drawdown Length": books.drawdown.length / 1e9,
        "Sharpe Ratio": returns.sharpe,
        "Sortino Ratio": returns.sortino,
        "Probabilistic Sharpe Ratio": returns.probabilistic_sharpe,
        "Calmar Ratio": annual / depth if annual is not None and depth else None,
        "Annual Standard Deviation": returns.deviation,
        "Annual Variance": returns.variance,
        "Best Return": returns.best,
        "Worst Return": returns.worst,
        "Total Orders": float(books.orders),
        "Total Trades": float(trades.count),
        "Win Rate": trades.win_rate,
        "Loss Rate": trades.loss_rate,
        "Average Win": trades.average_win,
        "Average Loss": trades.average_loss,
        "Profit-Loss Ratio": trades.profit_loss_ratio,
        "Profit Factor": trades.profit_factor,
        "Expectancy": trades.expectancy,
        "Total Fees": float(
            sum((Decimal(f.fee) * Decimal(f.rate) for f in books.fills), Decimal(0))
        ),
        "Portfolio Turnover": turnover(books.fills, closes, books.days),
        "Exposure": books.invested,
        "Gross Exposure": books.gross,
        "Trading Days": float(books.days),
        "Returns": float(returns.periods),
    }
    return {name: found[name] for name in STATISTICS}


def shown(name: str, value: float | None, money: str = "") -> str:
    """Write a value as people read it; "-" where it has no meaning."""
    if value is None:
        return "-"
    return _WRITERS[STATISTICS[name].kind](value, money)


def span_text(seconds: float) -> str:
    """Write a span by its two largest units."""
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    whole = round(seconds)
    words = []
    for name, size in units:
        count, whole = divmod(whole, size)
        if count:
            words.append(f"{count} {name}")
    return " ".join(words[:2]) or "0 s"


_WRITERS: Mapping[Kind, Callable[[float, str], str]] = {
    Kind.MONEY: lambda value, money: f"{value:,.2f} {money}".rstrip(),
    Kind.SHARE: lambda value, _: f"{value:,.2%}" if abs(value) >= 0.0001 else f"{value * 100:.2g}%",
    Kind.RATIO: lambda value, _: f"{value:,.2f}" if abs(value) >= 0.01 else f"{value:.2g}",
    Kind.COUNT: lambda value, _: f"{value:,.0f}",
    Kind.SPAN: lambda value, _: span_text(value),
}
