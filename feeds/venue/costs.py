"""What trading costs beside the spread: fees and slippage, to choose from.

A fee is told what its order has had before, so that a minimum or a maximum holds for the order as
a whole however many fills it takes.
"""

from decimal import Decimal
from typing import Protocol

import msgspec

from feeds.venue.orders import EXACT, ZERO

FEE_QUANTUM = Decimal("1e-8")
"""A fee is rounded to this, half even, in the currency of the price."""


class Execution(msgspec.Struct, frozen=True):
    """One fill, and what its order had before: quantity, notional (quantity x price) and fees.

    `is_maker`: the order waited for its price.
    """

    quantity: Decimal
    price: Decimal
    is_maker: bool = False
    quantity_before: Decimal = ZERO
    notional_before: Decimal = ZERO
    fees_before: Decimal = ZERO


class FeeModel(Protocol):
    """What a fill costs, in the currency of its price; below 0 is a rebate."""

    def fee(self, execution: Execution) -> Decimal:
        """Return the fee of one fill, rounded to FEE_QUANTUM."""
        ...


class PercentFee(msgspec.Struct, frozen=True):
    """A share of the notional, in 1/10,000: `maker_bps` for orders that waited for their price."""

    taker_bps: Decimal
    maker_bps: Decimal | None = None

    def fee(self, execution: Execution) -> Decimal:
        """Return the share."""
        bps = self.taker_bps
        if execution.is_maker and self.maker_bps is not None:
            bps = self.maker_bps
        notional = EXACT.multiply(execution.quantity, execution.price)
        return _rounded(EXACT.multiply(notional, bps).scaleb(-4, EXACT))


class PerShareFee(msgspec.Struct, frozen=True):
    """So much a share, at least `minimum` an order, at most `most` of the order's notional.

    Where the two contradict each other the minimum holds. The defaults are those of LEAN's
    InteractiveBrokersFeeModel for US equities: 0.005 a share, at least 1, at most 0.5 %.
    """

    each: Decimal = Decimal("0.005")
    minimum: Decimal = Decimal(1)
    most: Decimal | None = Decimal("0.005")

    def fee(self, execution: Execution) -> Decimal:
        """Return what the order owes by now, less what it has paid."""
        notional = EXACT.fma(execution.quantity, execution.price, execution.notional_before)
        total = EXACT.multiply(EXACT.add(execution.quantity_before, execution.quantity), self.each)
        if self.most is not None:
            total = min(total, EXACT.multiply(notional, self.most))
        return _rounded(EXACT.subtract(max(total, self.minimum), execution.fees_before))


class SlippageModel(Protocol):
    """How much worse than the market's price an order fills that takes whatever there is."""

    def share(self, quantity: Decimal, available: Decimal | None) -> Decimal:
        """Return it as a share of the price; `available` is the size told, None without one."""
        ...


class FixedSlippage(msgspec.Struct, frozen=True):
    """Always the same, in 1/10,000 of the price."""

    bps: Decimal

    def share(self, quantity: Decimal, available: Decimal | None) -> Decimal:
        """Return the share."""
        del quantity, available
        return self.bps.scaleb(-4, EXACT)


class VolumeSlippage(msgspec.Struct, frozen=True):
    """The square of the share that the order takes of what is there, times `impact`.

    At most `most` counts as that share. As LEAN's VolumeShareSlippageModel, with the size of the
    quote or the volume of the trade or bar as what is there; its defaults are LEAN's.
    """

    most: Decimal = Decimal("0.025")
    impact: Decimal = Decimal("0.1")

    def share(self, quantity: Decimal, available: Decimal | None) -> Decimal:
        """Return the share of the price; 0 where no size was told."""
        if not available:
            return ZERO
        taken = min(EXACT.divide(quantity, available), self.most)
        return EXACT.multiply(EXACT.multiply(taken, taken), self.impact)


def _rounded(fee: Decimal) -> Decimal:
    return fee.quantize(FEE_QUANTUM, context=EXACT)
