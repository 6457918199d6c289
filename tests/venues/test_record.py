"""What was recorded replays to the same events, and a recording says what it is."""

import gzip
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.errors import ConfigError, DecodeError
from feeds.events import AssetClass, Event, FeedState, Quote, Symbol, Trade
from feeds.files import open_source
from feeds.files.recording import LineReader, LineWriter, Recorded, RecordingFile
from feeds.protocols.registry import VENUES
from feeds.recorder import Recorder
from feeds.stream import LiveFeed
from tests.live.venue_kit import Listener
from tests.venues.chaos import HASTY, SPEC
from tests.venues.faults import Fault, FaultProxy
from tests.venues.server import CaptureServer
from tests.venues.tape import Tape
from tests.venues.test_capture_server import wanted

SYMBOLS = wanted(["SKL-USD", "SKL-BTC", "DASH-BTC"])


async def recorded(shared_data: Path, out: Path) -> list[Event]:
    """Record through some disconnects, with history over HTTP; return what was delivered."""
    tape = Tape(shared_data / "wire" / "COINBASE.ws.28.0.gz", rounds=50, kinds=("match", "ticker"))
    server, listener = CaptureServer("coinbase", tape), Listener()
    faults = [Fault.RESET, Fault.DUPLICATE, Fault.NONSENSE]
    async with server.listening(), FaultProxy(server.port, 3, faults).listening() as proxy:
        feed = LiveFeed(
            SPEC,
            url=f"ws://127.0.0.1:{proxy.port}",
            rest_url=f"http://127.0.0.1:{server.port}",
            settings=msgspec.structs.replace(HASTY, quiet=timedelta(seconds=5)),
            random=Random(1),
        )
        recorder = await anyio.to_thread.run_sync(lambda: feed.recorded(out, tables=True))

        async def deliver(events: Sequence[Event]) -> None:
            await listener.deliver(events)
            await recorder.deliver(events)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            tasks.start_soon(feed.run, SYMBOLS, deliver)
            await listener.until_state(FeedState.LIVE)
            await server.play(until=lambda: listener.states.count(FeedState.LIVE) >= 4)
            proxy.calm = True
            await server.play(until=lambda: feed.statistics().filled > 0)
            tasks.cancel_scope.cancel()
    return listener.events


def ticks(events: Sequence[Event]) -> list[Trade | Quote]:
    """The ticks by arrival: the seam lets some go later than they came."""
    found = [event for event in events if isinstance(event, Trade | Quote)]
    return sorted(found, key=lambda e: (e.received, str(type(e)), e.symbol, e.time, repr(e)))


async def test_what_was_recorded_replays_to_the_same_events(
    shared_data: Path, tmp_path: Path
) -> None:
    with anyio.fail_after(40):
        live = await recorded(shared_data, tmp_path)
    (capture,) = (tmp_path / "captures").iterdir()
    assert capture.name == "coinbase.capture.1.gz"

    def replayed() -> tuple[list[Event], list[Event], int]:
        source = open_source([tmp_path / "captures"])
        once = list(source.events())
        assert source.symbols == {each.symbol: AssetClass.CRYPTO for each in SYMBOLS}
        again, audit = list(source.events()), source.audit()
        assert audit.unaccounted == 0
        assert audit.malformed == sum("Malformed" in type(e).__name__ for e in live)
        tables = list(open_source([tmp_path / "tables"]).events())
        assert once == again
        return list(once), list(tables), source.gaps

    once, tables, gaps = await anyio.to_thread.run_sync(replayed)
    assert len(ticks(live)) > 100
    assert gaps > 0
    seen = {repr(event) for event in ticks(live)}
    assert seen <= {repr(event) for event in once}  # the end may have cut what was held
    assert ticks(tables) == ticks(live)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)), st.integers(1, 2**62))
def test_any_frame_comes_back_from_its_line(frame: bytes | str, now: int) -> None:
    class Hearing:
        ignored: dict[str, int] = {}
        heard: tuple[bytes, int] | None = None

        def receive(self, data: bytes, received: int) -> list[Event]:
            self.heard = data, received
            return []

        def http_response(self, tag: str, status: int, body: bytes, received: int) -> list[Event]:
            self.heard = body, received
            assert (tag, status) == ("trades:a b#&", 200)
            return []

        def data_to_send(self) -> list[bytes]:
            return []

        def take_requests(self) -> list[bytes]:
            return []

    hearing = Hearing()
    reader = LineReader(hearing)  # type: ignore[arg-type]  # what a reader touches
    writer = LineWriter("wss://x", "https://y", ("secret",))
    data = frame.encode(errors="surrogatepass") if isinstance(frame, str) else frame
    line = writer.received(frame, now)
    assert len(line.splitlines()) == 1
    reader.take(line)
    assert hearing.heard == (data, now)
    reader.take(writer.answered("trades:a b#&", 200, data, now))
    assert hearing.heard == (data, now)


def test_secrets_are_not_on_record() -> None:
    writer = LineWriter("wss://x", None, ("KEY1", "s3cret"))
    line = writer.sent('{"action":"auth","key":"KEY1","secret":"s3cret"}', 1)
    assert line == 'wss://x <- 0.000000001: {"action":"auth","key":"***","secret":"***"}'


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "does not say what it holds"),
        (["1.0: {}"], "does not say what it holds"),
        (["configuration: {}"], "missing required field"),
        (['configuration: {"venue":"mars","subscriptions":[]}'], "is of mars: known are"),
    ],
)
def test_what_is_no_recording_says_so(tmp_path: Path, lines: list[str], words: str) -> None:
    path = tmp_path / "coinbase.capture.1.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    with pytest.raises(DecodeError, match=words):
        RecordingFile(path, VENUES).check()


def test_a_folder_that_holds_a_recording_is_not_written_over(tmp_path: Path) -> None:
    Recorder(tmp_path, SPEC, "wss://x", None, tables=False)
    (tmp_path / "captures" / "coinbase.capture.1.gz").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        Recorder(tmp_path, SPEC, "wss://x", None, tables=False)


def test_a_recording_says_what_was_asked_for() -> None:
    head = LineWriter("wss://x", None, ()).head(Recorded("coinbase", SYMBOLS, book=True))
    told = msgspec.json.decode(head.removeprefix("configuration: "), type=Recorded)
    assert told == Recorded("coinbase", SYMBOLS, book=True)
    assert told.subscriptions[0].symbol == Symbol("DASH/BTC")
