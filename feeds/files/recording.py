"""Our own recordings of live connections, in the lines of `capture`, told apart by name.

`VENUE.capture.N.gz` is one protocol's life, through all its connections. The first line says the
venue and what was asked for, so that it is read through the protocol that it was heard by: each
line moves it as the live event did. Our time has nine decimals; a frame that is no plain line of
text is written as Python writes bytes; an HTTP answer's address ends in its tag and status.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from feeds.base import Audit, Subscription
from feeds.continuity import Continuity
from feeds.errors import DecodeError
from feeds.events import SECOND, AssetClass, Event, Gap, Malformed, MarketEvent, Symbol
from feeds.files.lines import check_archive, read_lines
from feeds.numbers import exact_ns
from feeds.protocols.base import Options, VenueProtocol, VenueSpec

NAME = re.compile(r"(?P<venue>[a-z0-9-]+)\.capture\.(?P<number>\d+)\.gz")
_HEAD = "configuration: "
_CONNECTED = " <-> "
_SENT = " <- "
_ANSWERED = " -> "


class Recorded(msgspec.Struct, frozen=True):
    """What the first line says."""

    venue: str
    subscriptions: list[Subscription]
    book: bool = False
    bars: bool = False


class LineWriter:
    """Makes the lines of one protocol's recording. Times are ns; `secrets` are never written."""

    def __init__(self, url: str, rest_url: str | None, secrets: Sequence[str]) -> None:
        self._url, self._rest_url = url, rest_url or ""
        self._secrets = [secret for secret in secrets if secret]

    def head(self, recorded: Recorded) -> str:
        """Return the first line."""
        return _HEAD + msgspec.json.encode(recorded).decode()

    def connected(self, now: int) -> str:
        """Return the line of a socket that has opened."""
        return f"{self._url}{_CONNECTED}{_time(now)}"

    def received(self, data: bytes | str, now: int) -> str:
        """Return the line of a frame that came."""
        return f"{_time(now)}: {_text(data)}"

    def sent(self, data: bytes | str, now: int) -> str:
        """Return the line of a frame that went."""
        text = _text(data)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return f"{self._url}{_SENT}{_time(now)}: {text}"

    def answered(self, tag: str, status: int, body: bytes, now: int) -> str:
        """Return the line of an HTTP answer."""
        name = tag.replace("%", "%25").replace(" ", "%20")  # no separator of ours is without one
        return f"{self._rest_url}#{name}&{status}{_ANSWERED}{_time(now)}: {_text(body)}"


class LineReader:
    """Moves a protocol line by line as the live events did; knows no file.

    Attributes:
        audit: what each line became.
        gaps: jumps in the numbers of trades.
    """

    def __init__(self, protocol: VenueProtocol) -> None:
        self.gaps = 0
        self.audit = Audit(ignored=protocol.ignored)
        self._protocol = protocol

    def take(self, line: str) -> list[Event]:
        """Return the events of one line.

        Raises:
            ValueError: it is none of the documented shapes.
        """
        protocol = self._protocol
        if line[:1].isdigit():
            moment, _, text = line.partition(": ")
            events = protocol.receive(_data(text), exact_ns(moment))
        elif _CONNECTED in line:
            protocol.restart()
            protocol.connected(exact_ns(line.rpartition(_CONNECTED)[2]))
            events = []
        elif _ANSWERED in line.partition(": ")[0]:
            head, _, text = line.partition(": ")
            address, _, moment = head.rpartition(_ANSWERED)
            tag, _, status = address.partition("#")[2].rpartition("&")
            name, body = tag.replace("%20", " ").replace("%25", "%"), _data(text)
            events = protocol.http_response(name, int(status), body, exact_ns(moment))
        elif _SENT in line.partition(": ")[0] or line.startswith(_HEAD):
            events = []
        else:
            raise ValueError("neither a frame nor a note of the recorder")
        protocol.data_to_send()
        protocol.take_requests()
        return events

    def feed(self, lines: Sequence[str]) -> list[MarketEvent]:
        """Take lines and return their market events, in order of arrival."""
        market: list[MarketEvent] = []
        for line in lines:
            self.audit.rows += 1
            before, malformed = len(market), self.audit.malformed
            ignored = sum(self.audit.ignored.values())
            try:
                events = self.take(line)
            except ValueError:
                self.audit.malformed += 1
                continue
            for event in events:
                if isinstance(event, MarketEvent):
                    market.append(event)
                elif isinstance(event, Malformed):
                    self.audit.malformed += 1
                else:
                    self.gaps += isinstance(event, Gap)
            made = len(market) - before
            self.audit.events += made
            if made:
                self.audit.rows_used += 1
            elif malformed == self.audit.malformed and ignored == sum(self.audit.ignored.values()):
                self.audit.ignore("note of the recorder")
        return market


class RecordingFile:
    """One recording, read lazily."""

    def __init__(self, path: Path, venues: Mapping[str, VenueSpec]) -> None:
        self.path = path
        self.series = path.as_posix()
        self.symbols: dict[Symbol, AssetClass] = {}
        self._venues = venues
        self._reader: LineReader | None = None

    @property
    def gaps(self) -> int:
        """Jumps in the numbers of trades, in the latest reading."""
        return 0 if self._reader is None else self._reader.gaps

    def audit(self) -> Audit:
        """Return the counts of the latest reading."""
        return Audit() if self._reader is None else self._reader.audit

    def check(self) -> None:
        """Read the first line.

        Raises:
            DecodeError: it is damaged, or of a venue that we do not know.
        """
        check_archive(self.path)
        recorded = self._head(next(read_lines(self.path), []))
        self.symbols = {each.symbol: each.asset_class for each in recorded.subscriptions}

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start.

        Raises:
            DecodeError: it is damaged or cut short, or of a venue that we do not know.
        """
        reader: LineReader | None = None
        for lines in read_lines(self.path):
            if reader is None:
                reader = self._reader = LineReader(self._protocol(self._head(lines)))
            yield from reader.feed(lines)

    def _head(self, lines: Sequence[str]) -> Recorded:
        line = lines[0] if lines else ""
        try:
            if not line.startswith(_HEAD):
                raise ValueError("its first line does not say what it holds")
            recorded = msgspec.json.decode(line.removeprefix(_HEAD), type=Recorded)
        except ValueError as error:
            raise DecodeError(f"{self.path} is no recording: {error}") from None
        if recorded.venue not in self._venues:
            known = ", ".join(self._venues)
            raise DecodeError(f"{self.path} is of {recorded.venue}: known are {known}")
        return recorded

    def _protocol(self, recorded: Recorded) -> VenueProtocol:
        options = Options(book=recorded.book, bars=recorded.bars)
        make = self._venues[recorded.venue].make
        return make(recorded.subscriptions, options, Continuity())


def _time(now: int) -> str:
    return f"{now // SECOND}.{now % SECOND:09}"


def _text(data: bytes | str) -> str:
    """Write a frame on one line."""
    frame = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    try:
        text = frame.decode()
    except UnicodeDecodeError:
        return repr(frame)
    is_plain = text.splitlines() == [text] and not text.startswith(("b'", 'b"'))
    return text if is_plain else repr(frame)


def _data(text: str) -> bytes:
    if text.startswith(("b'", 'b"')):
        data = ast.literal_eval(text)
        if not isinstance(data, bytes):
            raise ValueError("bytes are written in a way that is not Python's")
        return data
    return text.encode()
