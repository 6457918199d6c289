"""Settings of trading become its objects: the risk gate, and the broker that fills on paper."""

from decimal import Decimal

from feeds.events import SECOND, AssetClass, Symbol
from feeds.symbols import guess_class
from feeds.venue.costs import (
    FeeModel,
    FixedSlippage,
    PercentFee,
    PerShareFee,
    SlippageModel,
    VolumeSlippage,
)
from feeds.venue.matching import Matcher
from runtime.schedule.calendars import market_of
from runtime.trading.daily_loss import DailyLoss
from runtime.trading.paper import PaperBroker
from runtime.trading.risk import RiskGate, standard_checks
from runtime.trading.settings import TradingSettings

SHORTABLE = frozenset({AssetClass.EQUITY, AssetClass.FOREX})


def make_gate(settings: TradingSettings) -> RiskGate:
    """Make the door that every order goes through."""
    return RiskGate(
        standard_checks(
            max_order_value=_exact(settings.max_order_value),
            max_position_value=_exact(settings.max_position_value),
            price_collar=_exact(settings.price_collar),
            max_open_orders=settings.max_open_orders,
            max_orders_per_second=settings.max_orders_per_second,
            short=SHORTABLE if settings.allow_short else frozenset(),
        )
    )


def make_daily_loss(settings: TradingSettings) -> DailyLoss | None:
    """Make what halts trading after a loss, where that is asked for."""
    limit = _exact(settings.max_daily_loss)
    return None if limit is None else DailyLoss(limit)


def make_broker(settings: TradingSettings) -> PaperBroker:
    """Make the broker that fills on paper."""
    fees: FeeModel = PercentFee(Decimal(str(settings.fee_bps)), _exact(settings.maker_fee_bps))
    if settings.fee_model == "per-share":
        fees = PerShareFee(
            Decimal(str(settings.fee_per_share)),
            Decimal(str(settings.fee_minimum)),
            Decimal(str(settings.fee_maximum_share)),
        )
    slippage: dict[str, SlippageModel] = {
        "fixed": FixedSlippage(Decimal(str(settings.slippage_bps))),
        "volume": VolumeSlippage(),
    }
    return PaperBroker(
        Matcher(
            fees=fees,
            slippage=slippage.get(settings.slippage_model),
            respect_size=settings.respect_size,
            participation=_exact(settings.participation),
            max_quote_age_ns=round(settings.max_quote_age_seconds * SECOND),
            latency_ns=round(settings.latency_ms * SECOND / 1000),
            is_open=_in_regular_hours if settings.hours == "regular" else None,
        )
    )


def _in_regular_hours(symbol: Symbol, now: int) -> bool:
    return market_of(guess_class(symbol)).is_open(now)


def _exact(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))
