"""Kill the runtime, and the venue, at random moments of order flow, and count what came of it.

`python -m benchmarks.kills --kills 200`: a runtime trades at a venue of its own through a proxy
that records what is sent and shares no code with either. From time to time all is let come to rest:
then every order was sent once, the journal and the venue's account hold the same, and models and
quota are where they were. One seed draws the same moments. `--sweep fdatasync` (pwrite64, sendto)
kills at the first such call of a run, then at the second, until a run ends by itself; it needs
strace.
"""

import argparse
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

TIDEGATE = Path(sys.executable).with_name("tidegate")
PATIENCE = 60.0
PLACED = re.compile(rb'"client_order_id": ?"([^"]+)"')
STRATEGY = """
from runtime import ModelSlot, Resolution, Strategy


class Mine(Strategy):
    def initialize(self):
        self.add_equity("SPY", Resolution.TICK)
        self.slot = ModelSlot("plain")
        self.train(self.fit, into=self.slot)
        self.n, self.waiting = 0, []
        self.quiet = self.get_parameter("quiet") == "yes"

    def fit(self):
        return {"weights": [1.0, 2.0]}

    def on_data(self, slice):
        self.n += 1
        if self.n == 1:
            held = {str(each.symbol): str(each.quantity) for each in self.portfolio}
            self.log("first", version=self.slot.version or 0, held=held)
        if self.quiet:
            return
        if self.n > int(self.get_parameter("ticks", "1000000")):
            self.quit("enough")
            return
        quantity = 1 + self.n % 3
        self.market_order("SPY", quantity if self.n % 2 else -quantity)
        if self.n % 7 == 0:
            self.waiting.append(self.limit_order("SPY", 1, 1.0))
        if self.n % 11 == 0 and self.waiting:
            self.waiting.pop().cancel()
        if self.n % 5 == 0:
            self.log("tick", n=self.n)
"""


class WireLedger:
    """A TCP proxy that passes everything on and remembers what clients sent."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sent: list[bytearray] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def placed(self) -> Counter[str]:
        """How often each order was sent, by the client's name for it."""
        names = [name.decode() for sent in list(self._sent) for name in PLACED.findall(sent)]
        return Counter(names)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent = bytearray()
            self._sent.append(sent)
            for pair in ((client, server, sent), (server, client, None)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, record: bytearray | None) -> None:
        try:
            while data := source.recv(65536):
                if record is not None:
                    record += data
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()


class Process:
    """A process whose lines are read by a thread, so that it never waits for its reader."""

    def __init__(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        cwd: Path,
        under: Sequence[str] = (),
    ) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [*under, TIDEGATE, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, words: str, *, patience: float = PATIENCE) -> str:
        """Wait for a line with these words."""
        seen = 0
        deadline = time.monotonic() + patience
        with self._changed:
            while True:
                for line in self.lines[seen:]:
                    if words in line:
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"no {words!r} in {''.join(self.lines)[-3000:]}")
                self._changed.wait(left)

    def wait(self) -> int:
        """Wait for its end, and for all that it said."""
        code = self.process.wait(PATIENCE)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, PATIENCE)
        return code

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.wait()


class Checked(NamedTuple):
    """What a comparison has found."""

    sent: int
    taken: int
    fills: int
    never_arrived: int
    version: int
    quota: int


class Arena:
    """A venue, a recording proxy, and one deployment after another on the same folder."""

    def __init__(self, folder: Path, rate: int = 40) -> None:
        self.folder, self.rate = folder, rate
        self.data_port, self.trading_port = _free_port(), _free_port()
        (folder / "mine.py").write_text(STRATEGY)
        (folder / "run.toml").write_text(
            "[trading]\nacceptance_seconds = 1.0\n[training]\ngrace_minutes = 0.0\n"
        )
        self.wire = WireLedger(self.trading_port)
        self.venue = self.start_venue()
        self.version, self.quota = 0, 10**9
        self.journal = folder / ".tidegate" / "Mine" / "journal.db"

    def start_venue(self) -> Process:
        """Start the venue, or start it again, and wait until it listens."""
        venue = Process(
            *("venue", "--port", str(self.data_port), "--trading-port", str(self.trading_port)),
            *("--account", "account.db", "--rate", str(self.rate)),
            cwd=self.folder,
        )
        venue.until("it takes orders on")
        return venue

    def start_run(self, *more: str, under: Sequence[str] = ()) -> Process:
        """Start a run of the deployment, under another command where one is given."""
        return Process(
            *("run", "mine.py", "--venue-url", f"ws://127.0.0.1:{self.data_port}"),
            *("--broker", "alpaca", "--trading-url", f"http://127.0.0.1:{self.wire.port}"),
            *("--config", "run.toml", "--log-format", "json", *more),
            env={"APCA_API_KEY_ID": "paper", "APCA_API_SECRET_KEY": "paper"},
            cwd=self.folder,
            under=under,
        )

    def close(self) -> None:
        """End the venue and the proxy."""
        self.venue.kill()
        self.wire.close()

    # ---- what is compared ----------------------------------------------------------------------

    def ask(self, path: str) -> Any:
        """Ask the venue itself, past the proxy."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.trading_port}{path}",
            headers={"APCA-API-KEY-ID": "paper", "APCA-API-SECRET-KEY": "paper"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def orders(self) -> list[dict[str, Any]]:
        """All orders of the venue."""
        found: dict[str, dict[str, Any]] = {}
        after = ""
        while True:
            page = self.ask(f"/v2/orders?status=all&direction=asc&limit=500{after}")
            found |= {order["id"]: order for order in page}
            if len(page) < 500:
                return list(found.values())
            after = f"&after={page[-1]['submitted_at']}"

    def come_to_rest(self) -> Checked:
        """Let a run that orders nothing begin and end in order; then everything must agree."""
        run = self.start_run("--param", "quiet=yes")
        line = json.loads(run.until('"first"'))
        deadline = time.monotonic() + PATIENCE
        while self.unknown() and time.monotonic() < deadline:
            time.sleep(0.1)
        run.process.send_signal(signal.SIGTERM)
        if run.wait() != 0:
            raise AssertionError("".join(run.lines)[-3000:])
        return self.compare(line["version"])

    def unknown(self) -> set[str]:
        """Return the orders that the journal has open and the venue does not."""
        _, _, states, _ = books(self.journal)
        there = {order["client_order_id"] for order in self.ask("/v2/orders?limit=500")}
        return {name for name, (state, _) in states.items() if state == "open"} - there

    def compare(self, version: int) -> Checked:
        """Hold wire, journal and venue against each other; what is wrong is an AssertionError."""
        cash, held, states, known = books(self.journal)
        placed, venue = self.wire.placed(), self.orders()
        theirs = {order["client_order_id"]: order for order in venue}
        twice = {name: count for name, count in placed.items() if count > 1}
        _hold(not twice, f"sent more than once: {twice}")
        _hold(len(theirs) == len(venue), "the venue has a name twice")
        _hold(set(theirs) <= set(placed), "the venue has what was never sent")
        _hold(set(placed) <= set(states), "sent what is in no journal")
        for name, (state, filled) in states.items():
            order = theirs.get(name)
            if order is None:
                _hold(state == "rejected" and not filled, f"{name} is {state}, not at the venue")
            else:
                _hold(filled == Decimal(order["filled_qty"]), f"{name}: {filled}, {order}")
                _hold(state == ENDS[order["status"]], f"{name} is {state}: {order}")
        account = self.ask("/v2/account")
        _hold(cash == Decimal(account["cash"]), f"cash {cash} and {account['cash']}")
        positions = {p["symbol"]: Decimal(p["qty"]) for p in self.ask("/v2/positions")}
        _hold(held == positions, f"held {held} and {positions}")
        quota = json.loads((self.folder / ".tidegate" / "Mine" / "quota.json").read_text())
        _hold(version >= self.version, f"version {version} after {self.version}")
        _hold(quota["available"] <= self.quota, f"quota {quota} after {self.quota}")
        self.version, self.quota = version, quota["available"]
        never = len(states) - len(theirs)
        return Checked(len(placed), len(theirs), known, never, version, self.quota)


ENDS = {"filled": "filled", "canceled": "cancelled", "expired": "expired", "rejected": "rejected"}


def books(path: Path) -> tuple[Decimal, dict[str, Decimal], dict[str, tuple[str, Decimal]], int]:
    """Cash, holdings, orders by name and the count of fills, by the rows and our own sums."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT kind, id, body FROM entries ORDER BY number").fetchall()
    db.close()
    cash, held, fills = Decimal(0), Counter[str](), 0
    states: dict[str, tuple[str, Decimal]] = {}
    sizes: dict[str, Decimal] = {}
    for kind, name, text in rows:
        body = json.loads(text)
        if kind == "opening":
            cash = Decimal(body["cash"])
        elif kind == "order":
            states[name], sizes[name] = ("open", Decimal(0)), Decimal(body["quantity"])
        else:
            state, filled = states[name]
            fill = body.get("fill")
            if fill:
                fills += 1
                change = Decimal(fill["quantity"]) * (1 if fill["side"] == "buy" else -1)
                cash -= change * Decimal(fill["price"]) + Decimal(fill["fee"])
                held[fill["symbol"]] += change  # type: ignore[assignment]  # a Decimal
                filled += Decimal(fill["quantity"])
                state = "filled" if filled == sizes[name] else state
            elif body["kind"] in {"rejected", "cancelled", "expired"} and state == "open":
                state = body["kind"]
            states[name] = state, filled
    kept = {name: Decimal(count) for name, count in held.items() if count}
    return cash, kept, states, fills


def kill_once(arena: Arena, random: Random) -> str:
    """Start a run, kill it at some moment, perhaps the venue with it; return what was done."""
    run = arena.start_run()
    way = random.choice(("flow", "flow", "recovery", "venue"))
    if way == "recovery":
        time.sleep(random.uniform(0.3, 2.5))
    else:
        with suppress(AssertionError):  # it may be refused its venue, and end by itself
            run.until('"first"')
        time.sleep(random.uniform(0.0, 2.0))
    if way == "venue":
        arena.venue.kill()
        time.sleep(random.uniform(0.0, 0.3))
        arena.venue = arena.start_venue()
        time.sleep(random.uniform(0.0, 0.6))
    run.kill()
    return way


def sweep(arena: Arena, call: str, most: int) -> int:
    """Kill a run at its first, second, third ... call of this kind, until one ends by itself.

    Returns:
        At how many calls a run was killed.
    """
    for number in range(1, most + 1):
        inject = f"inject={call}:signal=SIGKILL:when={number}"
        trace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
        run = arena.start_run("--param", "ticks=6", under=trace)
        code = run.wait()
        found = arena.come_to_rest()
        print(call, number, code, found, flush=True)
        if code == 0:
            return number - 1
    return most


@contextmanager
def arena_in(folder: Path) -> Iterator[Arena]:
    """Make an arena, and end it."""
    arena = Arena(folder)
    try:
        yield arena
    finally:
        arena.close()


def _hold(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def _free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port: int = it.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rest", type=int, default=10, help="kills between two comparisons")
    parser.add_argument("--sweep", metavar="CALL", help="kill at each system call of this kind")
    args = parser.parse_args()
    if args.sweep:
        with tempfile.TemporaryDirectory() as folder, arena_in(Path(folder)) as arena:
            print({args.sweep: sweep(arena, args.sweep, args.kills)})
        return
    random, ways, began = Random(args.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, arena_in(Path(folder)) as arena:
        for number in range(1, args.kills + 1):
            ways[kill_once(arena, random)] += 1
            if number % args.rest == 0 or number == args.kills:
                found = arena.come_to_rest()
                print(number, dict(ways), found, flush=True)
        figures = {"kills": args.kills, "seed": args.seed, "ways": ways, **found._asdict()}
        print(json.dumps(figures | {"seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
