"""Give a venue's protocol rubbish made of real frames: every outcome must be a documented one.

A third of the inputs are real, in their order and numbered on, so that books are valid and trades
counted when the rubbish comes; HTTP answers are rubbish, too. What is not documented ends the run
with the seed and the number of the input.
Run it: python -m benchmarks.fuzz --venue coinbase --inputs 1000000
"""

import argparse
import json
import os
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import msgspec

from benchmarks.inputs import Inputs
from benchmarks.mutations import STRANGE, Specimen, check, take
from benchmarks.specimens import answers_of, symbols_of, venues
from feeds.base import Subscription
from feeds.continuity import Continuity
from feeds.events import SECOND, AssetClass, Event, Gap, Symbol
from feeds.protocols.base import HttpGet, Options, VenueProtocol
from feeds.protocols.kraken_v1 import KrakenV1Protocol
from feeds.protocols.registry import VENUES

START = 1_700_000_000 * SECOND
SESSIONS = [100, 1_000, 10_000]
"""Inputs to one protocol before the next."""
STATUSES = [200, 200, 200, 200, 0, 404, 429, 500]


class Outcome(msgspec.Struct):
    """What became of the inputs.

    `kinds` counts events by type; `counted` are frames that made none; `renewed` how often the
    protocol asked for another connection; `growth_mb` is the memory that the run took after its
    first tenth.
    """

    venue: str
    seed: int
    inputs: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    counted: int = 0
    answers: int = 0
    renewed: int = 0
    growth_mb: float = 0.0


class Fuzzer:
    """One protocol under fire; `has_book` chooses what its quotes are made of."""

    def __init__(self, venue: str, seed: int, data: Path, *, has_book: bool) -> None:
        self.draw = Random(f"{venue} {seed} {has_book}")
        self._wanted = [Subscription(name, AssetClass.CRYPTO) for name in symbols_of(venue)]
        self._venue, self._options = venue, Options(book=has_book, bars=True)
        self._inputs = Inputs(venue, self.draw, data)
        self._answers = [(url, Specimen(text)) for url, text in answers_of(venue, data)]
        self._now = START
        self.latest: str | bytes = ""
        self._begin()

    def _begin(self) -> None:
        """Take a new protocol: after an absurd number, all the rest would be duplicates."""
        self.protocol = make(self._venue, self._wanted, self._options)
        self.protocol.restart()
        self.protocol.connected(self._now)
        self._left = self.draw.choice(SESSIONS)

    def step(self, outcome: Outcome) -> None:
        """Give it one input, and whatever that asks for."""
        if not self._left:
            self._begin()
        self._left -= 1
        draw, protocol = self.draw, self.protocol
        self.latest = self._inputs.next()
        self._now += draw.randrange(20_000_000)
        events = take(protocol, self.latest, self._now)
        self._note(events, outcome)
        outcome.counted += not events
        protocol.data_to_send()
        requests = protocol.take_requests()
        for event in events:
            if isinstance(event, Gap) and (request := protocol.backfill(event)) is not None:
                requests.append(request)
        for request in requests:
            self._answer(request, outcome)
        wake = protocol.next_wake()
        if wake is not None and wake <= self._now:
            self._note(protocol.tick(self._now), outcome)
        self._live(outcome)

    def _answer(self, request: HttpGet, outcome: Outcome) -> None:
        draw = self.draw
        body: str | bytes = draw.choice(STRANGE)
        if self._answers and draw.random() < 0.8:
            name = "" if request.symbol is None else request.symbol.replace("/", "").lower()
            matching = [each for each in self._answers if name in each[0].lower() or not each[0]]
            _, specimen = draw.choice(matching or self._answers)
            body = specimen.text if draw.random() < 0.5 else specimen.mutate(draw)
        self.latest = body
        raw = body if isinstance(body, bytes) else body.encode(errors="replace")
        status = draw.choice(STATUSES)
        self._note(self.protocol.http_response(request.tag, status, raw, self._now), outcome)
        outcome.answers += 1

    def _live(self, outcome: Outcome) -> None:
        """Renew the connection where it must be, or by chance; let a symbol go and come back."""
        protocol, chance = self.protocol, self.draw.random()
        if protocol.fault is not None or protocol.refusal is not None or chance < 0.0002:
            outcome.renewed += 1
            protocol.restart()
            protocol.connected(self._now)
            for each in self._wanted:
                self._recover(each.symbol, outcome)
        elif chance > 0.9998:
            protocol.unsubscribe([self._wanted[0].symbol])
            protocol.subscribe(self._wanted[:1])

    def _recover(self, symbol: Symbol, outcome: Outcome) -> None:
        """Ask for what an outage hid, as the connection does, and for what follows from it."""
        last = self.protocol.continuity.latest(symbol)
        if last is None or (request := self.protocol.recover(symbol, last, self._now)) is None:
            return
        self._answer(request, outcome)
        for more in self.protocol.take_requests():
            self._answer(more, outcome)

    def _note(self, events: list[Event], outcome: Outcome) -> None:
        check(events)
        outcome.kinds.update(type(event).__name__ for event in events)


def make(venue: str, wanted: list[Subscription], options: Options) -> VenueProtocol:
    """Make a protocol of a venue that `--feed` knows, or the old one that recordings need."""
    if venue == "kraken-v1":
        return KrakenV1Protocol(wanted, options, Continuity())
    return VENUES[venue].make(wanted, options, Continuity())


def fuzz(venue: str, inputs: int, seed: int, data: Path) -> Outcome:
    """Give half of the inputs to a protocol without a book and half to one with it."""
    outcome = Outcome(venue, seed)
    began = time.perf_counter()
    memory = 0.0
    for has_book in (False, True):
        fuzzer = Fuzzer(venue, seed, data, has_book=has_book)
        for number in range(inputs // 2):
            try:
                fuzzer.step(outcome)
            except BaseException:
                print(f"{venue}, seed {seed}, book {has_book}, input {number}: ", file=sys.stderr)
                print(repr(fuzzer.latest)[:2000], file=sys.stderr)
                raise
            outcome.inputs += 1
            if number == inputs // 20:
                memory = memory or _memory()
    outcome.seconds = time.perf_counter() - began
    outcome.growth_mb = _memory() - memory
    return outcome


def _memory() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print what became of the inputs, as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venue", required=True, choices=venues())
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data = Path(os.environ.get("TIDEGATE_SHARED_DATA", "../shared/data"))
    outcome = fuzz(arguments.venue, arguments.inputs, arguments.seed, data)
    rate = outcome.inputs / outcome.seconds
    print(f"{outcome.venue}, seed {outcome.seed}: {outcome.inputs:,} inputs, {rate:,.0f}/s")
    for kind, count in sorted(outcome.kinds.items()):
        print(f"  {kind:<12} {count:>12,}")
    print(f"  {'counted':<12} {outcome.counted:>12,}")
    print(f"  {'answers':<12} {outcome.answers:>12,}")
    print(f"  {'renewed':<12} {outcome.renewed:>12,}")
    print(f"  memory grew by {outcome.growth_mb:.1f} MB")
    print(json.dumps(msgspec.to_builtins(outcome)))


if __name__ == "__main__":
    main()
