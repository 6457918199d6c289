"""Kraken's WebSocket API, version 2: trades and the best quotes, or a book that proves itself.

A row that cannot be read costs itself, not its neighbours. Trade numbers rise by one per symbol:
the first snapshot of trades is where counting starts, and after a reconnect it fills what was
missed. The book's top ten must have the CRC32 that every message names, or it is asked for anew.
There is no closing word for a bar: it counts once its successor has begun.
"""

from collections.abc import Sequence

import msgspec

from feeds.base import Subscription
from feeds.book import Book
from feeds.continuity import Continuity
from feeds.events import (
    MINUTE,
    SECOND,
    Aggressor,
    Bar,
    Event,
    FeedState,
    Gap,
    Malformed,
    Quote,
    Status,
    Symbol,
    Trade,
)
from feeds.numbers import check_ohlc, iso_ns, price, size
from feeds.protocols import kraken_wire as wire
from feeds.protocols.base import HttpGet, Limits, Options, Rate, VenueSpec
from feeds.protocols.channels import UNREADABLE, ChannelCore
from feeds.protocols.kraken_checksum import TOP, Checksum
from feeds.protocols.kraken_rest import read_trades, trades_request
from feeds.protocols.names import Names
from feeds.protocols.requests import Requests
from feeds.symbols import split_pair

NAME = "kraken"
DEPTH = TOP
"""Levels a side: the checksum proves no more than ten."""

_encode = msgspec.json.Encoder().encode
_AGGRESSORS = {"buy": Aggressor.BUYER, "sell": Aggressor.SELLER}


class KrakenProtocol(ChannelCore):
    """One connection to Kraken."""

    path = "/v2"

    def __init__(
        self,
        subscriptions: Sequence[Subscription] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        continuity: Continuity | None = None,
    ) -> None:
        channels = ["trade", "book" if options.book else "ticker", *["ohlc"] * options.bars]
        names = Names(split_pair, str)
        super().__init__(NAME, channels, subscriptions, continuity, names, DEPTH)
        self._checksum = Checksum()
        self._candles: dict[Symbol, Bar] = {}  # the latest of each symbol, maybe unfinished
        self._requested = Requests()

    def restart(self) -> None:
        """Forget the connection that was: every symbol is to be asked for again."""
        super().restart()
        self._candles.clear()
        self._requested.clear()

    def request(self, method: str, channel: str, symbols: Sequence[Symbol]) -> None:
        """Queue the frame that subscribes these symbols to a channel, or unsubscribes them."""
        params: dict[str, object] = {"channel": channel, "symbol": symbols}
        if method == "subscribe":
            number = self._requested.add(channel, symbols)
            params["snapshot"] = True
        else:
            number = self._requested.number()
        match channel:
            case "book":
                params["depth"] = DEPTH
            case "ticker":
                params["event_trigger"] = "bbo"
            case "ohlc":
                params["interval"] = 1
        frame = {"method": method, "params": params, "req_id": number}
        self.send(_encode(frame).decode())

    def forget(self, symbol: Symbol) -> None:
        """Drop what is known of a symbol that is no longer wanted."""
        super().forget(symbol)
        self._candles.pop(symbol, None)

    # --- frames --------------------------------------------------------------------------------

    def receive(self, data: bytes | str, received: int) -> list[Event]:
        """Take one frame and return what it says, in the venue's order; never raises on input."""
        try:
            frame = data.encode() if isinstance(data, str) else data
            try:
                message = wire.message.decode(frame)
            except msgspec.ValidationError as error:
                return self._on_other(frame, error, received)
            match message:
                case wire.Trades():
                    return self._on_trades(message, frame, received)
                case wire.Tickers():
                    return self._on_tickers(message, frame, received)
                case wire.Books():
                    return self._on_books(message, frame, received)
                case wire.Candles():
                    return self._on_candles(message, frame, received)
                case wire.Systems():
                    return self._on_systems(message, received)
            return self.ignore("heartbeat")
        except UNREADABLE as error:
            return self.unreadable(error, data, received)

    def _on_trades(self, message: wire.Trades, frame: bytes, received: int) -> list[Event]:
        rows, kind = message.data, "no trade"
        events: list[Event] = []
        starting: dict[Symbol, Trade] = {}
        if message.type == "snapshot":
            rows = sorted(rows, key=lambda row: row.trade_id)
        for row in rows:
            try:
                symbol = self.names.find(row.symbol)
                if symbol is None:
                    kind = "symbol not asked for"
                    continue
                by = _AGGRESSORS.get(row.side, Aggressor.UNKNOWN)
                numbers = price(row.price), size(row.qty)
                at = iso_ns(row.timestamp)
                trade = Trade(symbol, at, received, *numbers, str(row.trade_id), by)
            except ValueError as error:
                events += self.unreadable(error, frame, received)
                continue
            if message.type == "snapshot" and not self.continuity.knows(symbol):
                starting[symbol] = trade
                kind = "trade before the start"
                continue
            verdict = self.continuity.admit(symbol, row.trade_id, at, received)
            if verdict.gap is not None:
                events.append(verdict.gap)
            if verdict.is_new:
                events.append(trade)
            else:
                kind = "duplicate"
        for symbol, last in starting.items():
            self.continuity.prime(symbol, int(last.trade_id), last.time, received)
        return self.outcome(events, kind)

    def _on_tickers(self, message: wire.Tickers, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        kind = "no quote"
        for row in message.data:
            try:
                symbol = self.names.find(row.symbol)
                if symbol is None:
                    kind = "symbol not asked for"
                    continue
                bid_size, ask_size = size(row.bid_qty), size(row.ask_qty)
                if (not bid_size and size(row.bid) == 0) or (not ask_size and size(row.ask) == 0):
                    kind = "one-sided quote"
                    continue
                time = received if row.timestamp is None else iso_ns(row.timestamp)
                bid, ask = price(row.bid), price(row.ask)
                events.append(Quote(symbol, time, received, bid, bid_size, ask, ask_size))
            except ValueError as error:
                events += self.unreadable(error, frame, received)
        return self.outcome(events, kind)

    def _on_books(self, message: wire.Books, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        kind = "book"
        for row in message.data:
            try:
                symbol = self.names.find(row.symbol)
                time = received if row.timestamp is None else iso_ns(row.timestamp)
            except ValueError as error:
                events += self.unreadable(error, frame, received)
                continue
            if symbol is None:
                kind = "symbol not asked for"
                continue
            book = self.books.of(symbol)
            is_update = message.type == "update"
            if is_update and not book.is_valid:
                kind = "book update without a snapshot"
                continue
            apply = book.update if is_update else book.snapshot
            bids = [(level.price, level.qty) for level in row.bids]
            asks = [(level.price, level.qty) for level in row.asks]
            if apply(bids, asks):
                self._check(book, row.checksum)
            events += self.books.settle(book, time, received, mended=is_update)
        return self.outcome(events, kind)

    def _check(self, book: Book, told: int) -> None:
        found = self._checksum.of(book)
        if found == told:
            self.checks += 1
        else:
            book.invalidate(f"its checksum is {found}, Kraken's {told}")

    def _on_candles(self, message: wire.Candles, frame: bytes, received: int) -> list[Event]:
        events: list[Event] = []
        for row in message.data:
            try:
                symbol = self.names.find(row.symbol)
                if symbol is None:
                    continue
                prices = price(row.open), price(row.high), price(row.low), price(row.close)
                check_ohlc(*prices)
                start, volume = iso_ns(row.interval_begin), size(row.volume)
                candle = Bar(symbol, start, received, MINUTE, *prices, volume)
            except ValueError as error:
                events += self.unreadable(error, frame, received)
                continue
            latest = self._candles.get(symbol)
            if latest is None or candle.time >= latest.time:
                self._candles[symbol] = candle
            if latest is not None and candle.time > latest.time:
                events.append(msgspec.structs.replace(latest, received=received))
        return self.outcome(events, "ohlc unfinished")

    def _on_systems(self, message: wire.Systems, received: int) -> list[Event]:
        for row in message.data:
            if row.system != "online":
                words = f"Kraken says that it is in {row.system[:40]}"
                return self.outcome([Status(NAME, FeedState.LIVE, received, words)], "status")
        return self.ignore("status")

    # --- answers -------------------------------------------------------------------------------

    def _on_other(self, frame: bytes, error: Exception, received: int) -> list[Event]:
        """Take what is of no known channel; `error` is what a known one was refused for."""
        answer = wire.answer.decode(frame)
        if answer.channel:
            if answer.channel in wire.CHANNELS:
                raise error
            return self.ignore(answer.channel)
        if answer.method == "subscribe":
            return self._on_subscribed(answer)
        if answer.error:
            self.fault = f"Kraken said: {answer.error[:200]}"
            return self.ignore("error")
        return self.ignore(answer.method or "unknown")

    def _on_subscribed(self, answer: wire.Answer) -> list[Event]:
        channel, symbols = self._requested.find(answer.req_id)
        named = answer.result.symbol or answer.symbol
        if named:
            symbols = [Symbol(named)]
        words = answer.error.lower()
        if answer.success or "already" in words:
            return self.accept(answer.result.channel or channel, symbols)
        if "rate" in words:  # of the moment: another connection may do
            symbols = ()
        return self.reject(symbols, answer.error)

    # --- back-fill -----------------------------------------------------------------------------

    def backfill(self, gap: Gap) -> HttpGet | None:
        """Return the request for the trades of a gap."""
        return trades_request(gap)

    def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
        """Take a page of trades, and ask for the next where the gap goes on."""
        if status != 200:
            return self.ignore("no history")
        events, more = read_trades(tag, body, received, self.continuity)
        self.malformed += any(isinstance(event, Malformed) for event in events)
        if more is not None:
            self.ask(more)
        return self.outcome(events, "history without news")


KRAKEN = VenueSpec(
    name=NAME,
    url="wss://ws.kraken.com",
    rest_url="https://api.kraken.com",
    limits=Limits(
        symbols=200,
        messages=Rate(4),
        connects=Rate(100, 600 * SECOND),
        requests=Rate(1),
        heartbeat=5 * SECOND,
    ),
    make=KrakenProtocol,
)
