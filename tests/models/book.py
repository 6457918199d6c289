"""The slow obvious book: plain dictionaries, sorted anew for every question."""

from collections.abc import Iterable
from decimal import Decimal

Level = tuple[Decimal, Decimal]


class SlowBook:
    def __init__(self, depth: int | None, limit: int) -> None:
        self.depth = depth
        self.limit = limit
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.lowest_bid: Decimal | None = None  # below it, nothing is known
        self.highest_ask: Decimal | None = None
        self.is_valid = False

    def snapshot(self, bids: Iterable[Level], asks: Iterable[Level], *, is_whole: bool) -> None:
        self.bids = {price: size for price, size in dict(bids).items() if size != 0}
        self.asks = {price: size for price, size in dict(asks).items() if size != 0}
        partial = self.depth is None and not is_whole
        self.lowest_bid = min(self.bids) if partial and self.bids else None
        self.highest_ask = max(self.asks) if partial and self.asks else None
        self.is_valid = True
        self.cut()

    def update(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        if not self.is_valid:
            return
        for price, size in bids:
            if self.lowest_bid is None or price >= self.lowest_bid:
                self.bids[price] = size
        for price, size in asks:
            if self.highest_ask is None or price <= self.highest_ask:
                self.asks[price] = size
        self.bids = {price: size for price, size in self.bids.items() if size != 0}
        self.asks = {price: size for price, size in self.asks.items() if size != 0}
        self.cut()
        if (self.lowest_bid is not None and not self.bids) or (
            self.highest_ask is not None and not self.asks
        ):
            self.is_valid = False

    def cut(self) -> None:
        bound = self.limit if self.depth is None else self.depth
        if len(self.bids) > bound:
            self.bids = dict(self.best_bids()[:bound])
            if self.depth is None:
                self.lowest_bid = min(self.bids)
        if len(self.asks) > bound:
            self.asks = dict(self.best_asks()[:bound])
            if self.depth is None:
                self.highest_ask = max(self.asks)

    def best_bids(self) -> list[Level]:
        return sorted(self.bids.items(), reverse=True)

    def best_asks(self) -> list[Level]:
        return sorted(self.asks.items())
