"""Let atheris look for inputs that take a venue's protocol where no other input has: by coverage.

`benchmarks.fuzz` spoils real frames at random; here the inputs that reach new code are kept and
spoilt further. It needs `pip install atheris`, which is no dependency. The corpus begins with the
venue's frames; all arguments after the venue are libFuzzer's.
Run it: python -m benchmarks.fuzz_atheris okx -runs=1000000 -seed=1 FOLDER
"""

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["feeds"]):
    from benchmarks.fuzz import make
    from benchmarks.mutations import check, take
    from benchmarks.specimens import answers_of, frames_of, symbols_of, venues
    from feeds.base import Subscription
    from feeds.events import SECOND, AssetClass, Gap
    from feeds.protocols.base import HttpGet, Options, VenueProtocol

START = 1_700_000_000 * SECOND
FRAMES = 1_000
"""Inputs to one protocol before the next."""


class Target:
    """A protocol under fire: the first byte of an input says whether it is an answer or a frame."""

    def __init__(self, venue: str) -> None:
        self._venue, self._count = venue, 0
        self._wanted = [Subscription(name, AssetClass.CRYPTO) for name in symbols_of(venue)]
        self._protocol: VenueProtocol

    def __call__(self, data: bytes) -> None:
        """Take one input; what is not documented ends the run."""
        if self._count % FRAMES == 0:
            options = Options(book=self._count // FRAMES % 2 == 1, bars=True)
            self._protocol = make(self._venue, self._wanted, options)
            self._protocol.restart()
            self._protocol.connected(START)
        self._count += 1
        protocol, now = self._protocol, START + self._count * SECOND // 100
        if data[:1] == b"h":
            for request in self._requests(now):
                check(protocol.http_response(request.tag, 200, data[1:], now))
            return
        for event in take(protocol, data[1:], now):
            if isinstance(event, Gap):
                protocol.backfill(event)
        protocol.data_to_send()
        if protocol.fault is not None or protocol.refusal is not None:
            protocol.restart()
            protocol.connected(now)

    def _requests(self, now: int) -> list[HttpGet]:
        """What the protocol asks for, and what the connection would ask it for after an outage."""
        protocol, symbol = self._protocol, self._wanted[0].symbol
        requests = [*protocol.take_requests(), protocol.backfill(Gap(symbol, 1, 2, now, "", 5, 7))]
        if (last := protocol.continuity.latest(symbol)) is not None:
            requests.append(protocol.recover(symbol, last, now))
        return [request for request in requests if request is not None]


def main() -> None:
    """Write the first corpus into the last argument, if it is a folder, and begin."""
    venue = sys.argv.pop(1)
    if venue not in venues():
        raise SystemExit(f"{venue} is none of {', '.join(venues())}")
    data, folder = (
        Path(os.environ.get("TIDEGATE_SHARED_DATA", "../shared/data")),
        Path(sys.argv[-1]),
    )
    if folder.is_dir():
        frames = [f"f{text}" for _, text in frames_of(venue, data)]
        answers = [f"h{text}" for _, text in answers_of(venue, data)]
        for number, text in enumerate([*frames, *answers]):
            (folder / f"{venue}-{number}").write_text(text, encoding="utf-8")
    atheris.Setup(sys.argv, Target(venue))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
