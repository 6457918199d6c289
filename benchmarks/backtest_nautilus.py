"""The same ticks and rule in NautilusTrader: run by `benchmarks.backtest`, in its own environment.

One Python strategy, one-second bars made of the trades (seconds without a trade make none), market
orders that fill at the last price. What costs it time without need is off: logs, risk checks,
analysis. It gives a bar the trade of the very moment at which it ends, we give it to the next one:
here each trade comes a nanosecond later. Timed is the run, not the loading.
Run it: PYTHON backtest_nautilus.py TICKS.npz
"""

import json
import sys
import time
from decimal import Decimal

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import DataEngineConfig, LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import TradeTickDataWrangler
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")


class Average:
    """An exponential moving average that starts as a mean."""

    def __init__(self, period: int) -> None:
        self.period, self.weight = period, 2.0 / (period + 1)
        self.value, self.samples = 0.0, 0

    def update(self, value: float) -> None:
        self.samples += 1
        weight = self.weight if self.samples > self.period else 1.0 / self.samples
        self.value += weight * (value - self.value)


class Crosses(Strategy):  # type: ignore[misc]  # untyped there
    """Long while the fast average of a symbol is above its slow one."""

    def __init__(self, bar_types: list[BarType]) -> None:
        super().__init__(StrategyConfig(strategy_id="CROSS-1"))
        self.bar_types = bar_types
        self.averages = {kind: (Average(5), Average(20)) for kind in bar_types}
        self.fills: dict[str, list[str]] = {}

    def on_start(self) -> None:
        for kind in self.bar_types:
            self.subscribe_bars(kind)

    def on_bar(self, bar: Bar) -> None:
        fast, slow = self.averages[bar.bar_type]
        close = bar.close.as_double()
        fast.update(close)
        slow.update(close)
        if slow.samples < slow.period:
            return
        instrument = bar.bar_type.instrument_id
        flat = self.portfolio.is_flat(instrument)
        if fast.value > slow.value and flat:
            self.order(instrument, OrderSide.BUY)
        elif fast.value < slow.value and not flat:
            self.order(instrument, OrderSide.SELL)

    def order(self, instrument: InstrumentId, side: OrderSide) -> None:
        self.submit_order(self.order_factory.market(instrument, side, Quantity.from_int(1)))

    def on_order_filled(self, event: OrderFilled) -> None:
        side = "buy" if event.order_side == OrderSide.BUY else "sell"
        self.fills.setdefault(event.instrument_id.symbol.value, []).append(side)


def equity(symbol: str) -> Equity:
    return Equity(
        instrument_id=InstrumentId(Symbol(symbol), VENUE),
        raw_symbol=Symbol(symbol),
        currency=USD,
        price_precision=4,
        price_increment=Price.from_str("0.0001"),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
        taker_fee=Decimal("0.0001"),
    )


def ticks_of(instrument: Equity, time: object, price: object, size: object) -> list[TradeTick]:
    frame = pd.DataFrame({"price": price, "quantity": size}, index=pd.to_datetime(time, utc=True))
    frame["trade_id"] = np.arange(len(frame))
    ticks: list[TradeTick] = TradeTickDataWrangler(instrument).process(frame)
    return ticks


def main() -> None:
    """Print ticks a second and the sides of the fills as JSON."""
    held = np.load(sys.argv[1])
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True),
            data_engine=DataEngineConfig(
                time_bars_interval_type="right-open", time_bars_build_with_no_updates=False
            ),
            risk_engine=RiskEngineConfig(bypass=True),
            run_analysis=False,
        )
    )
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(1_000_000, USD)])
    kinds = []
    for place, symbol in enumerate(held["symbols"].tolist()):
        rows = held["symbol"] == place
        instrument = equity(symbol)
        engine.add_instrument(instrument)
        time_ns, price, size = (held[name][rows] for name in ("time", "price", "size"))
        engine.add_data(ticks_of(instrument, time_ns + 1, price, size), sort=False)
        kinds.append(BarType.from_str(f"{symbol}.SIM-1-SECOND-LAST-INTERNAL"))
    engine.sort_data()
    strategy = Crosses(kinds)
    engine.add_strategy(strategy)
    began = time.perf_counter()
    engine.run()
    rate = len(held["time"]) / (time.perf_counter() - began)
    print(json.dumps({"rate": rate, "fills": strategy.fills}))


if __name__ == "__main__":
    main()
