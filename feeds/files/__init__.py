"""Recorded market data from files and folders: what each one is, its path and suffix tell.

Several files are one source in order of time, read lazily: files of one series (a day each) are
opened one after the other, different series are merged. Every row of every file is in an Audit.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeVar

from feeds.base import Audit
from feeds.errors import ConfigError
from feeds.events import AssetClass, MarketEvent, Symbol
from feeds.files.capture import VENUES, CaptureFile, venue_of
from feeds.files.corporate import Actions, is_action, with_actions
from feeds.files.lean import LeanFile, parse_path
from feeds.files.merge import SourceTape, merge
from feeds.files.recording import NAME, RecordingFile
from feeds.files.strands import Strand
from feeds.files.table import TableMapping
from feeds.files.table_file import SUFFIXES, TableFile
from feeds.protocols.registry import VENUES as VENUES_BY_NAME

__all__ = ["FileSource", "SourceTape", "TableMapping", "open_source"]

_ALLOWED = (
    "LEAN zips as .../equity/usa/tick/spy/20131007_trade.zip, "
    f"recordings as VENUE.capture.1.gz, captures as VENUE.ws.1.0.gz of {', '.join(VENUES)}, "
    f"and tables {', '.join(SUFFIXES)}"
)


class MarketFile(Protocol):
    """One recognised file.

    `series` is equal for files that follow one another; `symbols` are those its name tells;
    `gaps` counts the jumps in trade numbers of the latest reading.
    """

    path: Path
    series: str
    symbols: dict[Symbol, AssetClass]

    @property
    def gaps(self) -> int: ...

    def check(self) -> None:
        """Look at its beginning.

        Raises:
            ConfigError: what it holds must be declared.
            DecodeError: it is damaged.
        """
        ...

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start."""
        ...

    def audit(self) -> Audit:
        """Return the counts of the latest reading."""
        ...


_File = TypeVar("_File", bound=MarketFile)


class FileSource:
    """Recognised files as one source; implements `feeds.base.Source`.

    Attributes:
        symbols: what the paths (or the mapping of a table) say it holds; a capture does not say it.
        tells_all: whether every file says what it holds, so that there are no other symbols.
    """

    def __init__(self, name: str, files: Sequence[MarketFile]) -> None:
        self._name = name
        self._files = files
        self.symbols: dict[Symbol, AssetClass] = {}
        for file in files:
            self.symbols.update(file.symbols)
        self.tells_all = all(file.symbols for file in files)

    @property
    def name(self) -> str:
        """The path it was opened with, or how many there were."""
        return self._name

    @property
    def gaps(self) -> int:
        """Jumps in the numbers of recorded trades: data that the recorder missed."""
        return sum(file.gaps for file in self._files)

    def events(self) -> Iterator[MarketEvent]:
        """Read all files from the start, in order of time.

        Raises:
            DecodeError: a file is damaged in its middle.
        """
        return merge([_one_after_the_other(files) for files in _in_series(self._files)])

    def strands(self) -> list[Strand] | None:
        """Read all files from the start, as `events` does, but by symbol and in columns.

        None where a file has no columns, or two series are of one symbol.

        Raises:
            DecodeError: a file is damaged at its beginning, or in its middle once that is read.
        """
        files = [file for file in self._files if isinstance(file, LeanFile) and file.has_columns]
        series = _in_series(files)
        symbols = [one[0].symbol for one in series]
        if len(files) < len(self._files) or len(set(symbols)) < len(symbols):
            return None
        return [
            Strand(symbol, chain.from_iterable(file.columns() for file in one))
            for symbol, one in zip(symbols, series, strict=True)
        ]

    def first_events(self) -> list[MarketEvent]:
        """Look at the first event of each series; counts begin anew with the next reading.

        Raises:
            DecodeError: a file is damaged at its beginning.
        """
        first = {file.series: file for file in reversed(self._files)}
        return [event for file in first.values() for event in islice(file.events(), 1)]

    def audit(self) -> Audit:
        """Return the counts so far, summed over the files."""
        total = Audit()
        for audit in self.audits().values():
            total.rows += audit.rows
            total.rows_used += audit.rows_used
            total.joined += audit.joined
            total.events += audit.events
            total.suspicious += audit.suspicious
            total.malformed += audit.malformed
            for kind, count in dict(audit.ignored).items():  # copied: a thread may be reading on
                total.ignore(kind, count)
        return total

    def audits(self) -> dict[Path, Audit]:
        """Return the counts so far of each file."""
        return {file.path: file.audit() for file in self._files}


def open_source(
    paths: Sequence[Path], table: TableMapping | None = None, *, adjusted: bool = True
) -> FileSource:
    """Recognise files, and every recognised file of a folder at any depth.

    It reads the beginning of each file: call it away from the event loop.

    Args:
        paths: files and folders.
        table: what the columns of the tables among them mean.
        adjusted: take LEAN's prices of shares times the factors of splits and dividends, and their
            symbols as of today, where the files that say so lie beside them.

    Raises:
        ConfigError: a path is missing, is nothing we know, or needs a mapping.
        DecodeError: a file is damaged.
    """
    mapping = table or TableMapping()
    actions: dict[Path, Actions] | None = {} if adjusted else None
    files: dict[Path, MarketFile] = {}
    for path in paths:
        if path.is_dir():
            inside = [each for each in sorted(path.rglob("*")) if each.is_file()]
            found = [recognise(each, mapping, actions) for each in inside]
            known = [file for file in found if file is not None]
            if not known:
                raise ConfigError(f"{path} holds no market data we know: {_ALLOWED}")
        elif path.exists():
            file = recognise(path, mapping, actions)
            if file is None:
                raise ConfigError(f"{path} is nothing we know: {_ALLOWED}")
            known = [file]
        else:
            raise ConfigError(f"{path} does not exist")
        files.update((file.path.resolve(), file) for file in known)
    if not files:
        raise ConfigError("no path of market data was given")
    for file in files.values():
        file.check()
    name = str(paths[0]) if len(paths) == 1 else f"{len(files)} files"
    return FileSource(name, list(files.values()))


def recognise(
    path: Path, mapping: TableMapping, actions: dict[Path, Actions] | None = None
) -> MarketFile | None:
    """Tell by path and suffix what a file is; None where it is nothing we know.

    With `actions` LEAN's shares are adjusted; what is known of their markets is kept in it.
    """
    if is_action(path):
        return None
    if lean := parse_path(path.absolute()):  # a short path may begin below the folders that tell
        file = LeanFile(path, lean)
        return file if actions is None else with_actions(file, lean, actions)
    if NAME.fullmatch(path.name):
        return RecordingFile(path, VENUES_BY_NAME)
    if venue := venue_of(path):
        return CaptureFile(path, venue)
    if path.name.endswith(SUFFIXES):
        return TableFile(path, mapping)
    return None


def _in_series(files: Sequence[_File]) -> list[list[_File]]:
    """The files that follow one another, in order; series in the order of their first files."""
    series: dict[str, list[_File]] = {}
    for file in files:
        series.setdefault(file.series, []).append(file)
    return [sorted(one, key=lambda file: file.path.name) for one in series.values()]


def _one_after_the_other(files: Sequence[MarketFile]) -> Iterator[MarketEvent]:
    for file in files:
        yield from file.events()
