"""One line to a venue that comes back: it connects, delivers, reconnects, and renews itself.

The first connection must be live within a time, or the feed fails in one sentence. After that the
venue may go away for as long as it likes: the outage is told (DISCONNECTED, then a Gap and LIVE).
Before the venue's planned cut a second connection takes over while the first still runs.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from feeds.backoff import Backoff
from feeds.base import ConnectionStatistics, Deliver, Subscription
from feeds.budget import TOO_MANY, Budget
from feeds.dial import Address, Attempt, Dropped, HttpRefusal, Silent, Untrusted
from feeds.errors import FeedError, VenueRefused
from feeds.events import SECOND, Bar, Event, FeedState, Gap, Quote, QuoteBar, Status, Symbol, Trade
from feeds.protocols.base import Limits, SymbolState, VenueProtocol
from feeds.seam import Seam
from feeds.session import END_OF_TAPE, ConnectionSettings, Ended, Session, only
from feeds.transports import open_socket

FORBIDDEN = {401, 403}
RENEW_BETWEEN = 0.90, 0.95
"""Shares of a connection's life between which it is renewed, so that many don't do it at once."""
CLOCKS_AGREE = 10 * SECOND
"""By how much a venue of the present may be behind us, for its data's way and its own clock."""

Make = Callable[[Sequence[Subscription]], VenueProtocol]


class Connection:
    """A reconnecting WebSocket for some symbols. `draw` is the random source of the backoff.

    `make` gives a fresh protocol for these symbols, all of them sharing one Continuity. With
    `may_wait` even the first connection may take as long as it likes.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        subscriptions: Iterable[Subscription],
        make: Make,
        limits: Limits,
        settings: ConnectionSettings,
        budget: Budget,
        draw: Callable[[], float],
        *,
        may_wait: bool = False,
    ) -> None:
        self.subscriptions = {each.symbol: each for each in subscriptions}
        self._address, self._name, self._make = address, name, make
        self._limits, self._settings, self._budget, self._draw = limits, settings, budget, draw
        self._core = make(list(self.subscriptions.values()))
        base, cap = (_ns(delay) for delay in (settings.backoff, settings.backoff_cap))
        self._backoff = Backoff(draw, base, cap)
        self._seam = Seam(_ns(settings.reorder))
        self._seam_changed = anyio.Event()
        self._seam_wake: int | None = None
        self._sessions: list[Session] = []
        self._leader: Session | None = None
        self._deliver: Deliver
        self._stopped = anyio.Event()
        self._been_live = may_wait
        self._refusals_told: set[Symbol] = set()
        self._latest: tuple[int, int] | None = None  # the last event's time, and ours
        self._outage: tuple[int, int, str] | None = None  # the same at its start, and why
        self._events = self._reconnects = self._renewals = self._frames_before = 0
        self._malformed_before = 0
        self._ignored_before: Counter[str] = Counter()
        self._skew: int | None = None
        self._trouble = ""

    def statistics(self) -> ConnectionStatistics:
        """Return the counters so far."""
        skews = [s.skew for s in self._sessions if s.skew is not None]
        cores = [s.core for s in self._sessions if s.core is not self._core]
        ignored = self._ignored_before.copy()
        for core in (self._core, *cores):
            ignored.update(core.ignored)
        states = Counter(self._core.symbols.values())
        return ConnectionStatistics(
            name=self._name,
            state=self._state,
            frames=self._frames_before + sum(s.frames for s in self._sessions),
            events=self._events,
            malformed=self._malformed_before + sum(c.malformed for c in (self._core, *cores)),
            reconnects=self._reconnects,
            renewals=self._renewals,
            gaps=self._seam.gaps,
            filled=self._seam.filled,
            skew=max(skews, default=self._skew),
            active=states[SymbolState.ACTIVE],
            trouble="" if self._been_live else self._trouble,
            refused=dict(self._core.refused),
            ignored=dict(ignored),
        )

    @property
    def _state(self) -> FeedState:
        if self._leader is not None:
            return FeedState.LIVE
        return FeedState.DISCONNECTED if self._been_live else FeedState.CONNECTING

    async def run(self, deliver: Deliver) -> None:
        """Deliver what comes, over as many connections as it takes, until the venue ends it.

        Raises:
            VenueRefused: the venue said no in a way that another attempt does not mend.
            FeedError: no connection became live within `connect_timeout` of the start.
        """
        self._deliver = deliver
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_seam)
                tasks.start_soon(self._stop_when_told, tasks)
                await self._stay(tasks)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise only(group) from None

    def subscribe(self, subscriptions: Iterable[Subscription]) -> None:
        """Add symbols, on the connection that is there or with the next."""
        new = [each for each in subscriptions if each.symbol not in self.subscriptions]
        self.subscriptions.update((each.symbol, each) for each in new)
        for core in self._cores():
            core.subscribe(new)
        self._flush()

    def unsubscribe(self, symbols: Iterable[Symbol]) -> None:
        """Take symbols out."""
        gone = [symbol for symbol in symbols if self.subscriptions.pop(symbol, None)]
        for core in self._cores():
            core.unsubscribe(gone)
        self._flush()

    def stop(self) -> None:
        """End `run` in order: nobody wants anything of this line any more."""
        self._stopped.set()

    def _cores(self) -> list[VenueProtocol]:
        return [self._core, *(s.core for s in self._sessions if s.core is not self._core)]

    def _flush(self) -> None:
        for session in self._sessions:
            session.flush()

    async def _stop_when_told(self, tasks: TaskGroup) -> None:
        await self._stopped.wait()
        tasks.cancel_scope.cancel()

    # --- connecting and reconnecting -----------------------------------------------------------

    async def _stay(self, tasks: TaskGroup) -> None:
        """Connect, live through it, connect again."""
        await self._deliver([self._status(FeedState.CONNECTING)])
        limit = self._settings.connect_timeout.total_seconds()
        give_up_at = anyio.current_time() + limit
        reason = ""
        while True:
            patience = limit if self._been_live else max(0.001, give_up_at - anyio.current_time())
            try:
                await self._live_through(tasks, await self._establish(tasks, self._core, patience))
            except Ended:
                ending = self._status(FeedState.ENDED, END_OF_TAPE)
                await self._deliver([*self._seam.drain(), ending])
                return
            except Silent as drop:
                reason = str(drop) if self._been_live else reason or str(drop)
            except Dropped as drop:
                reason = str(drop)
            self._trouble = reason
            delay = self._backoff.failed() / SECOND
            if not self._been_live:
                delay = min(delay, 1.0)
                sooner = max(delay, self._budget.until_connect())
                if anyio.current_time() + sooner >= give_up_at:
                    raise FeedError(
                        f"no live feed from {self._address.place} in {limit:g} s: {reason}"
                    )
            else:
                await self._tell_lost(reason)
            await anyio.sleep(delay)

    async def _establish(self, tasks: TaskGroup, core: VenueProtocol, patience: float) -> Session:
        """Connect and return a session that is live; it runs in `tasks`.

        Raises:
            Dropped, Ended, VenueRefused: it came to an end before.
        """
        await self._budget.connect_turn()
        begun = anyio.current_time()
        core.restart()
        session = await self._open(core, patience)
        left = max(0.001, patience - (anyio.current_time() - begun))
        session.on_history = self._on_history
        self._sessions.append(session)
        tasks.start_soon(self._host, session, min(left, self._limits.login / SECOND))
        await session.settled.wait()
        if session.done.is_set():
            raise _ending(session)
        return session

    async def _open(self, core: VenueProtocol, patience: float) -> Session:
        settings, limits = self._settings, self._limits
        place, been_live = self._address.place, self._been_live
        quiet = settings.quiet.total_seconds() if settings.quiet else limits.quiet / SECOND
        try:
            attempt = Attempt(
                self._address,
                core.path,
                core.headers,
                patience=patience,
                max_size=settings.max_size or limits.max_frame,
                proxy=settings.proxy,
                now=time.time_ns(),
            )
            socket = await open_socket(settings.transport, attempt)
        except HttpRefusal as refusal:
            status = refusal.status
            if status in TOO_MANY:
                self._budget.hold(refusal.wait)
                asked = f" and asked to wait {refusal.wait / SECOND:g} s" if refusal.wait else ""
                raise Dropped(f"{refusal}{asked}") from None
            words = f"{place} {str(refusal).removeprefix('it ')}"
            if status in FORBIDDEN:
                raise VenueRefused(words, status) from None
            if not been_live and status < 500:
                question = f"is there a market-data stream at {core.path}?"
                raise FeedError(f"{words}: {question}") from None
            raise Dropped(str(refusal)) from None
        except Untrusted as error:
            words = f"{place} has no certificate we trust: {error}"
            raise (Dropped if been_live else FeedError)(words) from None
        return Session(
            socket, core, limits, self._budget, quiet=quiet, sink=self._take, greet=self._greet
        )

    async def _host(self, session: Session, patience: float) -> None:
        """Run a session to its end, and keep its books."""
        try:
            await session.run(patience)
        finally:
            self._sessions.remove(session)
            self._frames_before += session.frames
            self._skew = self._skew if session.skew is None else session.skew
            if session.core is not self._core:
                self._retire(session.core)
            if self._leader is session:
                self._leader = None
                self._remember(session)

    def _retire(self, core: VenueProtocol) -> None:
        """Keep the counts of a protocol that is not used again."""
        self._malformed_before += core.malformed
        self._ignored_before.update(core.ignored)

    # --- living and renewing -------------------------------------------------------------------

    async def _live_through(self, tasks: TaskGroup, session: Session) -> None:
        """Wait for the end of a session, renewed before the venue's cut; always raises."""
        at = self._renew_at(session)
        while True:
            with anyio.move_on_at(at):
                await session.done.wait()
            if session.done.is_set():
                raise _ending(session)
            successor = await self._renew(tasks, session)
            if successor is None:
                at = anyio.current_time() + self._backoff.failed() / SECOND
            else:
                session, at = successor, self._renew_at(successor)

    def _renew_at(self, session: Session) -> float:
        """When to renew, on the loop's clock."""
        chosen = self._settings.life
        life = (self._limits.life or 0) / SECOND if chosen is None else chosen.total_seconds()
        if not life or not self._limits.overlap:
            return float("inf")
        low, high = RENEW_BETWEEN
        return session.since + life * (low + (high - low) * self._draw())

    async def _renew(self, tasks: TaskGroup, old: Session) -> Session | None:
        """Bring up a successor beside the old session, hand over, end the old one.

        Returns:
            The successor; None where it did not come up.
        """
        limit = self._settings.connect_timeout.total_seconds()
        core = self._make(list(self.subscriptions.values()))
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._tell_if_lost, old)
            try:
                session = await self._establish(tasks, core, limit)
            except (Dropped, Ended, VenueRefused):
                return None
            finally:
                beside.cancel_scope.cancel()
        with anyio.move_on_after(self._settings.overlap.total_seconds()):
            await old.done.wait()
        if session.done.is_set():
            return None
        if old.done.is_set():
            self._retire(old.core)
        self._core, self._leader = core, session
        self._renewals += 1
        await old.close()
        await old.done.wait()
        if not old.is_whole or old.until < session.since:  # what it lacks, the new one may lack too
            await self._deliver(self._unproven(old))
        renewed = "renewed before the venue's planned cut"
        await self._deliver([self._status(FeedState.LIVE, renewed)])
        return session

    def _unproven(self, old: Session) -> list[Event]:
        """Tell a connection's end as a gap where no number tells whether there is one."""
        known = self._core.continuity.latest
        latest = _latest_of(old) or self._latest
        if latest is None or not any(known(symbol) for symbol in self.subscriptions):
            return []
        now = time.time_ns()
        return [Gap(None, latest[0], max(latest[0], now), now, str(_ending(old)))]

    async def _tell_if_lost(self, session: Session) -> None:
        await session.done.wait()
        if self._leader is None:  # else its successor is live already
            await self._tell_lost(str(_ending(session)))

    # --- what comes ----------------------------------------------------------------------------

    async def _take(
        self, session: Session, events: Sequence[Event], now: int, *, is_history: bool = False
    ) -> None:
        """Deliver what a session says, once the seam lets it go."""
        seam, leads = self._seam, self._leader in (session, None)
        events = seam.take(events, now, leads=leads, is_history=is_history)
        wake = seam.next_wake()
        if wake != self._seam_wake:
            self._ask_history(session, now)
            self._seam_changed.set()
        if session.core.refused and session.is_live:
            events = [*events, *self._refusals(session, now)]
        if events:
            self._events += len(events)
            await self._deliver(events)

    def _ask_history(self, session: Session, now: int) -> None:
        for gap in self._seam.take_unasked():
            request = session.core.backfill(gap)
            if request is not None and gap.symbol is not None:
                self._seam.extend(gap.symbol, now + _ns(self._settings.history))
                session.ask(request, is_history=True)
        self._seam_wake = self._seam.next_wake()

    def _recover(self, session: Session, now: int) -> list[Event]:
        """Ask what was missed where ids tell no holes: of as many symbols as may be answered."""
        outages, history = self._seam.outages, _ns(self._settings.history)
        rate, released = self._limits.requests, list[Event]()
        turns = max(1, rate.count * history // rate.span)
        for symbol, last in outages.marks():
            request = session.core.recover(symbol, last, now)
            if request is None or symbol not in self.subscriptions:
                released += outages.release(symbol)
                continue
            outages.wait(symbol, now, now + history)
            if turns:
                turns -= 1
                session.ask(request, is_history=True)
            else:
                released += outages.give_up(symbol)
        self._seam_changed.set()
        return released

    async def _on_history(self, symbol: Symbol) -> None:
        """The last answer of a symbol's history has come: what is missing now stays missing."""
        if events := self._seam.conclude(symbol):
            self._events += len(events)
            await self._deliver(events)

    async def _keep_seam(self) -> None:
        """Let go what has waited long enough."""
        while True:
            wake = self._seam.next_wake()
            left = None if wake is None else max(0, wake - time.time_ns()) / SECOND
            with anyio.move_on_after(left):
                await self._seam_changed.wait()
            self._seam_changed = anyio.Event()
            if events := self._seam.expire(time.time_ns()):
                self._events += len(events)
                await self._deliver(events)

    def _refusals(self, session: Session, now: int) -> list[Event]:
        """Tell of symbols that the venue has come to refuse, once each."""
        new = session.core.refused.keys() - self._refusals_told
        self._refusals_told |= new
        return [
            Status(self._name, FeedState.LIVE, now, f"{symbol}: {session.core.refused[symbol]}")
            for symbol in sorted(new)
        ]

    # --- what becomes of it --------------------------------------------------------------------

    def _status(self, state: FeedState, detail: str = "") -> Status:
        return Status(self._name, state, time.time_ns(), detail)

    def _remember(self, session: Session) -> None:
        """Note where in the venue's time the data stopped; data and health reset the backoff."""
        if latest := _latest_of(session):
            self._latest = latest
            if anyio.current_time() - session.since >= self._settings.health.total_seconds():
                self._backoff.data_came()

    async def _tell_lost(self, reason: str) -> None:
        """Begin an outage."""
        if self._outage is None:
            now = time.time_ns()
            self._outage = *(self._latest or (now, now)), reason
            for symbol in self.subscriptions:
                if (last := self._core.continuity.latest(symbol)) is not None:
                    self._seam.outages.begin(symbol, last, reason, now)
            await self._deliver([self._status(FeedState.DISCONNECTED, reason)])

    def _greet(self, session: Session, received: int) -> list[Event]:
        """Name the data that was missed. The venue's clock is taken to run as fast as ours."""
        refused = session.core.refused
        if refused and not self._been_live:
            raise VenueRefused(
                f"{self._address.place} does not serve {_named(refused)}: "
                "take them out, or name a venue that does"
            )
        if not session.core.is_live:
            raise Dropped(f"it refused {_named(refused)}")
        if self._leader is not None:
            return []  # it is to take over from one that lives
        self._leader, self._been_live = session, True
        self._seam.ask_again()
        self._ask_history(session, received)
        events: list[Event] = []
        if self._outage is not None:
            start, since, reason = self._outage
            self._outage = None
            self._reconnects += 1
            ahead = start - since if self._skew is None else max(start - since, self._skew)
            if (
                ahead > -CLOCKS_AGREE
            ):  # it is late, not behind: what it did until now may be missing
                ahead = max(ahead, 0)
            end = max(start, received + ahead)
            events.append(Gap(None, start, end, received, reason))
        events.append(self._status(FeedState.LIVE))
        self._events -= len(events)  # these are ours, not the venue's
        return events + self._recover(session, received)


def _ending(session: Session) -> Exception:
    return session.ending or Dropped("the connection was lost")


def _latest_of(session: Session) -> tuple[int, int] | None:
    """The venue's time of the latest market data, and ours; None where there was none."""
    for event in reversed(session.latest):
        if isinstance(event, (Trade, Quote, Bar, QuoteBar)):
            return event.time, session.heard
    return None


def _named(refused: dict[Symbol, str]) -> str:
    """Name at most five symbols, with the venue's words for the first."""
    symbols = sorted(refused)
    more = f" and {len(symbols) - 5} more" if len(symbols) > 5 else ""
    words = refused[symbols[0]]
    return f"{', '.join(symbols[:5])}{more}" + (f" ({words})" if words else "")


def _ns(span: timedelta) -> int:
    return round(span.total_seconds() * SECOND)
