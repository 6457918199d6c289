"""One frozen Settings object; nothing here reads the environment.

A TOML file gives the same names, table by table; an unknown key is an error that names the nearest
one. A LEAN config.json is read too: its leaky-bucket keys and its time limit count, its other keys
are reported.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from feeds.ccxt_words import PREFIX as CCXT
from feeds.errors import ConfigError
from feeds.events import MINUTE
from feeds.files import TableMapping
from feeds.protocols.registry import VENUES
from runtime.trading.settings import TradingSettings, trading_rows
from runtime.training.bucket import PRESETS, default_refill

FEEDS = ("paper", "replay", "synthetic", *VENUES)
"""Of `feed.kind`; and ccxt:NAME."""
TAPES = ("replay", "synthetic")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_MINUTES = 10_000_000
"""Of a synthetic tape: nineteen years, which still fit into nanoseconds."""
LEAN_KEYS = {
    "scheduled-event-leaky-bucket-capacity": ("training", "capacity"),
    "scheduled-event-leaky-bucket-refill-amount": ("training", "refill_amount"),
    "scheduled-event-leaky-bucket-time-interval-minutes": ("training", "interval_minutes"),
    "algorithm-manager-time-loop-maximum": ("engine", "timeslice_minutes"),
}


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where market data comes from.

    `kind`: paper (the embedded venue), replay (files), synthetic (the same made-up market, in this
    process, in lockstep), the name of a real venue, or ccxt:NAME for one of ccxt's. `url`: a venue
    that runs already, or another address of a real one, and `rest_url` that of what is asked over
    HTTP. `proxy`: a proxy's URL in place of the environment's. `book`: make quotes from a checked
    order book, where the venue has one. `bars`: ask for the venue's own minute bars too. `speed`: 1
    is recorded pace, N is N times faster, 0 is flat out. `rate`: ticks a second and symbol of the
    synthetic market.
    `minutes`: how much market time a synthetic tape holds. `table`: what the
    columns of CSV and Parquet files mean. `clock`: whose time counts at a venue, ours (wall) or its
    own (venue); auto is the venue's where the embedded one plays recorded data or another speed.
    `normalization`: LEAN's prices of shares adjusted for splits and dividends, or raw.
    `ccxt`: what the constructor of ccxt's venue takes, where `kind` is ccxt:NAME. `transport`: what
    holds the sockets, websockets, or picows on uvloop (fast).
    """

    kind: str = "paper"
    url: str | None = None
    rest_url: str | None = None
    proxy: str | None = None
    book: bool = False
    bars: bool = False
    data: tuple[str, ...] = ()
    speed: float = 1.0
    seed: int = 1
    rate: float = 20.0
    clock: Literal["auto", "wall", "venue"] = "auto"
    normalization: Literal["adjusted", "raw"] = "adjusted"
    connect_timeout: float = 10.0
    minutes: float = 60.0
    table: TableMapping = TableMapping()
    ccxt: dict[str, Any] = {}
    transport: Literal["websockets", "fast"] = "websockets"

    @property
    def is_ccxt(self) -> bool:
        """Whether `kind` names a venue of ccxt."""
        return self.kind.startswith(CCXT) and len(self.kind) > len(CCXT)

    @property
    def follows_venue(self) -> bool:
        """Whether the venue's times are the run's: as asked, or where its own plays a tape."""
        if self.clock == "auto":
            return self.url is None and (bool(self.data) or self.speed != 1.0)
        return self.clock == "venue"


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The quota and the jobs; minutes are minutes of the wall clock.

    `preset` gives capacity, refill and interval by name; each may be given by itself. `policy` says
    what happens to a job that is refused a minute: it is cancelled, or the run stops (LEAN's way).
    `isolation` says how jobs are run that don't say it themselves, `when` at what times: always, or
    while the markets of the strategy's symbols are closed. Of a worker process: `memory_mb` for it
    and what it starts (None is half of the machine's), `native_threads` of BLAS and OpenMP,
    `result_mb` of what one job may hand back. `ray_address` is where isolation cluster finds its
    Ray: "auto" is the one that runs on this machine, "local" starts one for the run.
    """

    enabled: bool = True
    preset: str = "lean-local"
    capacity: int | None = None
    refill_amount: int | None = None
    interval_minutes: int | None = None
    grace_minutes: float = 1.0
    quantum_seconds: float = 60.0
    policy: Literal["cancel", "stop"] = "cancel"
    workers: int = 1
    keep_versions: int = 5
    timeout_minutes: float | None = None
    isolation: Literal["thread", "process", "cluster"] = "thread"
    when: Literal["always", "closed"] = "always"
    memory_mb: int | None = None
    native_threads: int = 1
    result_mb: int = 1024
    ray_address: str = "auto"

    def bucket(self) -> tuple[int, int, int]:
        """Return capacity (minutes), refill amount (minutes) and interval (ns)."""
        capacity, refill, interval = PRESETS[self.preset]
        if self.capacity is not None:
            capacity, refill = self.capacity, default_refill(self.capacity)
        if self.refill_amount is not None:
            refill = self.refill_amount
        if self.interval_minutes is not None:
            interval = self.interval_minutes
        return capacity, refill, interval * MINUTE


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of the loop: events pending, history kept per symbol, how long a callback may take.

    Over `slow_callback_ms` it is named, once it has returned; after `hung_callback_seconds` its
    stack is shown; over `timeslice_minutes` the run fails.
    """

    pending_bound: int = 100_000
    slow_callback_ms: float = 50.0
    hung_callback_seconds: float = 10.0
    timeslice_minutes: float = 10.0
    history: int = 10_000
    status_seconds: float = 5.0
    stop_grace_seconds: float = 8.0


class ControlSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may watch and steer the run.

    `socket`: its owner, over a Unix socket in the state folder; `tcp`: who shows the token, at a
    loopback HOST:PORT.
    """

    socket: bool = True
    tcp: str | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """The loopback host and port, 0 for a free one; None where there is none.

        Raises:
            ConfigError: `tcp` is none of this machine alone.
        """
        if self.tcp is None:
            return None
        host, _, port = self.tcp.rpartition(":")
        host = host.strip("[]")
        if host not in LOOPBACK:
            raise ConfigError(
                f"control.tcp is {self.tcp!r}: 127.0.0.1:PORT is needed, no other machine"
            )
        if not (port.isascii() and port.isdecimal() and int(port) < 65_536):
            raise ConfigError(f"control.tcp is {self.tcp!r}: the port is not 0 to 65535")
        return ("127.0.0.1" if host == "localhost" else host), int(port)


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told, how, and where.

    `format`: auto is text on a terminal and JSON lines elsewhere. `file`: lines go there as well;
    at `file_mb` megabytes it becomes FILE.1, of which the last five are kept (0 never does).
    `repeats`: the same line is told so many times a second, then counted; 0 sets no limit.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"
    file: str | None = None
    file_mb: int = 100
    repeats: int = 20


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a run is told.

    `name`: of the deployment, whose folder in `state_dir` holds what outlives a run; the strategy's
    class by default. `persist`: whether quota and models do; by default where data is of the
    moment, and not on a tape. `record`: write down what the engine sees, for a replay. `models`:
    files of finished models, by the slot that serves them.
    """

    name: str | None = None
    persist: bool | None = None
    record: bool = False
    models: dict[str, str] = {}
    time_zone: str = "America/New_York"
    parameters: dict[str, str] = {}
    state_dir: str = ".tidegate"
    feed: FeedSettings = FeedSettings()
    training: TrainingSettings = TrainingSettings()
    trading: TradingSettings = TradingSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()
    control: ControlSettings = ControlSettings()

    @property
    def persists(self) -> bool:
        """Whether quota and models outlive a run: as asked, or where its data is of the moment."""
        if self.persist is not None:
            return self.persist
        return self.feed.kind not in {"replay", "synthetic"} and not self.feed.follows_venue


def load_settings(path: Path | None, overrides: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Read a file (or none), lay the overrides over it, check all of it.

    Args:
        path: a .toml or .json file.
        overrides: nested mapping in the shape of Settings; None values do not count.

    Returns:
        The settings, and the keys of a LEAN config.json that have no meaning here.

    Raises:
        ConfigError: in one sentence: the file, the key, what was found, what is allowed.
    """
    found: dict[str, Any] = {}
    ignored: list[str] = []
    where = "the command line"
    if path is not None:
        where = str(path)
        found, ignored = _read(path)
    _check_names(found, Settings, where, "")
    merged = _merge(found, overrides)
    try:
        settings = msgspec.convert(merged, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_plain(str(error), merged)}") from None
    _check_values(settings, where)
    _ = settings.control.address  # refused here, before anything begins
    return settings, ignored


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: name a .toml or .json settings file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        if path.suffix == ".json":
            return _lean(json.loads(text), path)
        return tomllib.loads(text), []
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path} is not valid {kind}: {error}") from None


def _lean(found: Any, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Take LEAN's keys into our tables; a key with a hyphen is LEAN's own, not a mistake."""
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds a {type(found).__name__}: an object of settings is needed")
    ours = {key: value for key, value in found.items() if "-" not in key}
    theirs = {key: value for key, value in found.items() if "-" in key}
    for key, (table, name) in LEAN_KEYS.items():
        if key in theirs:
            ours = _merge(ours, {table: {name: _number(theirs.pop(key))}})
    return ours, sorted(theirs)


def _number(value: Any) -> Any:
    """Take a number that LEAN has written as text, which it does as often as not."""
    if isinstance(value, str):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(value)
    return value


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        if isinstance(value, Mapping):
            below = merged.get(key, {})
            merged[key] = _merge(below if isinstance(below, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def _check_names(
    found: Mapping[str, Any], table: type[msgspec.Struct], where: str, prefix: str
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(table)}
    for key, value in found.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(fields)}"
            raise ConfigError(f"{where}: unknown key {prefix}{key}: {hint}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: {prefix}{key} is {value!r}: a table is needed")
            _check_names(value, inner, where, f"{key}.")


def _plain(message: str, merged: Mapping[str, Any]) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.training.capacity`" round: key first."""
    text, _, place = message.partition(" - at `$.")
    key = place.rstrip("`")
    value: Any = merged
    for part in key.split(".") if key else []:
        value = value.get(part) if isinstance(value, Mapping) else None
    if text.startswith("Invalid enum value"):
        text = f"allowed are {', '.join(map(str, _choices(key)))}"
    return f"{key} is {value!r}: {text[0].lower()}{text[1:]}" if key else text


def _choices(key: str) -> tuple[Any, ...]:
    """What the setting at this place may be, as its type says it."""
    kind: Any = Settings
    for part in key.split("."):
        kind = get_type_hints(kind)[part]
    return get_args(kind)


def _check_values(settings: Settings, where: str) -> None:
    """Check what a type cannot say; each row is key, value, whether it is good, what is allowed."""
    feed, training, trading, engine = (
        settings.feed,
        settings.training,
        settings.trading,
        settings.engine,
    )
    if training.preset not in PRESETS:
        raise ConfigError(
            f"{where}: training.preset is {training.preset!r}: allowed are {', '.join(PRESETS)}"
        )
    capacity, refill, interval = training.bucket()
    if feed.kind not in FEEDS and not feed.is_ccxt:
        names = ", ".join((*FEEDS, "ccxt:NAME"))
        raise ConfigError(f"{where}: feed.kind is {feed.kind!r}: allowed are {names}")
    if feed.ccxt and not feed.is_ccxt:
        raise ConfigError(f"{where}: feed.ccxt means nothing with {feed.kind}: it is for ccxt:NAME")
    if feed.clock == "wall" and feed.kind in TAPES:
        raise ConfigError(
            f"{where}: feed.clock is wall: a {feed.kind} tape goes by its own time, leave it out"
        )
    if feed.clock == "venue" and feed.kind not in {"paper", *TAPES}:
        raise ConfigError(
            f"{where}: feed.clock is venue: {feed.kind} has the time of the day, leave it out"
        )
    positive = "more than 0 is needed"
    rows: list[tuple[str, object, bool, str]] = [
        ("feed.speed", feed.speed, feed.speed >= 0, "0 (flat out) or more is allowed"),
        ("feed.rate", feed.rate, 0 < feed.rate <= 1e6, "more than 0, at most 1000000 is allowed"),
        (
            "feed.minutes",
            feed.minutes,
            0 < feed.minutes <= MOST_MINUTES,
            f"more than 0, at most {MOST_MINUTES} is allowed",
        ),
        ("feed.connect_timeout", feed.connect_timeout, feed.connect_timeout > 0, positive),
        ("training.capacity", capacity, capacity > 0, positive),
        (
            "training.refill_amount",
            refill,
            0 <= refill <= capacity,
            f"0 to the capacity of {capacity} is allowed",
        ),
        ("training.interval_minutes", interval // MINUTE, interval > 0, positive),
        (
            "training.grace_minutes",
            training.grace_minutes,
            training.grace_minutes >= 0,
            "0 or more",
        ),
        (
            "training.quantum_seconds",
            training.quantum_seconds,
            training.quantum_seconds > 0,
            positive,
        ),
        ("training.keep_versions", training.keep_versions, training.keep_versions > 0, "1 or more"),
        ("training.workers", training.workers, 1 <= training.workers <= 64, "1 to 64 is allowed"),
        (
            "training.timeout_minutes",
            training.timeout_minutes,
            training.timeout_minutes is None or training.timeout_minutes > 0,
            positive,
        ),
        (
            "training.memory_mb",
            training.memory_mb,
            training.memory_mb is None or training.memory_mb >= 64,
            "64 or more is needed",
        ),
        (
            "training.native_threads",
            training.native_threads,
            training.native_threads >= 1,
            "1 or more is needed",
        ),
        ("training.result_mb", training.result_mb, training.result_mb >= 1, "1 or more is needed"),
        *trading_rows(trading),
        ("engine.pending_bound", engine.pending_bound, engine.pending_bound >= 1, "1 or more"),
        ("engine.history", engine.history, engine.history >= 1, "1 or more"),
        ("engine.slow_callback_ms", engine.slow_callback_ms, engine.slow_callback_ms > 0, positive),
        (
            "engine.hung_callback_seconds",
            engine.hung_callback_seconds,
            engine.hung_callback_seconds > 0,
            positive,
        ),
        (
            "engine.timeslice_minutes",
            engine.timeslice_minutes,
            0 < engine.timeslice_minutes < math.inf,
            positive,
        ),
        ("engine.status_seconds", engine.status_seconds, engine.status_seconds > 0, positive),
        (
            "engine.stop_grace_seconds",
            engine.stop_grace_seconds,
            engine.stop_grace_seconds >= 0,
            "0 or more",
        ),
    ]
    log = settings.log
    rows += [
        ("log.file_mb", log.file_mb, 0 <= log.file_mb <= 1_000_000, "0 to 1000000 is allowed"),
        ("log.repeats", log.repeats, log.repeats >= 0, "0 or more"),
    ]
    for key, value, good, allowed in rows:
        if not good:
            raise ConfigError(f"{where}: {key} is {value}: {allowed}")
    try:
        ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"{where}: time_zone is {settings.time_zone!r}: an IANA name such as "
            "America/New_York or UTC is needed"
        ) from None
