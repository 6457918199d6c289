"""Tables in files: CSV, plain or gzipped, and Parquet, read a portion at a time.

Parquet needs pyarrow, which is asked for only when such a file is opened.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feeds.base import Audit
from feeds.errors import ConfigError, DecodeError
from feeds.events import AssetClass, MarketEvent, Symbol
from feeds.files.lines import read_lines
from feeds.files.table import TableMapping, TableParser
from feeds.symbols import guess_class

SUFFIXES = (".csv", ".csv.gz", ".parquet")
ROWS_PER_BATCH = 8192


class TableFile:
    """One table, read lazily."""

    def __init__(self, path: Path, mapping: TableMapping) -> None:
        self.path = path
        self.series = path.as_posix()
        self.gaps = 0
        self.symbols: dict[Symbol, AssetClass] = {}
        if mapping.symbol is not None:
            self.symbols[mapping.symbol] = mapping.asset_class or guess_class(mapping.symbol)
        self._mapping = mapping
        self._audit = Audit()

    def audit(self) -> Audit:
        """Return the counts of the latest reading."""
        return self._audit

    def check(self) -> None:
        """Read the header and see whether its columns make events.

        Raises:
            ConfigError: they do not, or Parquet cannot be read here.
            DecodeError: the file is damaged.
        """
        if self.path.suffix == ".parquet":
            with _open_parquet(self.path) as file:
                self._parquet_parser(file)
        else:
            lines = next(read_lines(self.path), [""])
            TableParser(str(self.path), self._mapping, self._header(lines))

    def events(self) -> Iterator[MarketEvent]:
        """Read from the start.

        Raises:
            ConfigError: the columns make no event.
            DecodeError: the file is damaged.
        """
        if self.path.suffix == ".parquet":
            return self._parquet_events()
        return self._csv_events()

    def _header(self, lines: list[str]) -> list[str] | None:
        return (
            _cells(lines[0].lstrip("\ufeff"), self._mapping.delimiter)
            if self._mapping.header
            else None
        )

    def _csv_events(self) -> Iterator[MarketEvent]:
        parser: TableParser | None = None
        for lines in read_lines(self.path):
            first = 0
            if parser is None:
                parser = TableParser(str(self.path), self._mapping, self._header(lines))
                self._audit = parser.audit
                if self._mapping.header:
                    first = 1
                    parser.audit.rows += 1
                    parser.audit.ignore("header")
            yield from parser.feed(_cells(line, self._mapping.delimiter) for line in lines[first:])

    def _parquet_events(self) -> Iterator[MarketEvent]:
        with _open_parquet(self.path) as file:
            parser = self._parquet_parser(file)
            self._audit = parser.audit
            names = file.schema_arrow.names
            wanted = [names[column] for column in sorted(set(parser.columns.values()))]
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=wanted):
                values = [
                    _values(batch.column(name)) if name in wanted else [None] * batch.num_rows
                    for name in names
                ]
                yield from parser.feed(zip(*values, strict=True))

    def _parquet_parser(self, file: Any) -> TableParser:
        schema = file.schema_arrow
        typed = frozenset(i for i, type_ in enumerate(schema.types) if _is_time(type_))
        return TableParser(str(self.path), self._mapping, schema.names, typed)


def _cells(line: str, delimiter: str) -> list[str]:
    """Split one line; a quoted cell may hold the delimiter, but no line end."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return []


def pyarrow() -> Any:
    """The one place that needs pyarrow."""
    try:
        import pyarrow.parquet  # noqa: PLC0415  # an optional dependency
    except ImportError as error:
        raise ConfigError("Parquet files need pyarrow: install tidegate[parquet]") from error
    return pyarrow


@contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            yield file
    except (arrow.ArrowException, OSError) as error:
        raise DecodeError(f"{path} cannot be read: {error}") from error


def _is_time(type_: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_timestamp(type_) or types.is_date(type_))


def _values(array: Any) -> list[Any]:
    """A column as Python values; a typed time in ns, in UTC where it names no zone."""
    if _is_time(array.type):
        arrow = pyarrow()
        zone = getattr(array.type, "tz", None)
        array = array.cast(arrow.timestamp("ns", tz=zone)).cast(arrow.int64())
    return list(array.to_pylist())
