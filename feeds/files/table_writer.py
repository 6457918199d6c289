"""Events into Parquet: trades and quotes in a table each, readable by `table_file`.

Rows are appended as they come and become durable group by group; a table has its end only once it
is closed. Needs pyarrow, as reading does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feeds.events import Event, Quote, Trade
from feeds.files.table_file import pyarrow

GROUP_ROWS = 16_384

COLUMNS: dict[type, tuple[str, dict[str, str]]] = {
    Trade: (
        "trades",
        {
            "symbol": "string",
            "time": "int64",
            "received": "int64",
            "price": "float64",
            "size": "float64",
            "trade_id": "string",
            "aggressor": "string",
        },
    ),
    Quote: (
        "quotes",
        {
            "symbol": "string",
            "time": "int64",
            "received": "int64",
            "bid": "float64",
            "bid_size": "float64",
            "ask": "float64",
            "ask_size": "float64",
        },
    ),
}
"""Table and columns of each kind; times are ns UTC."""


class TableWriter:
    """Tables in a folder, which is made.

    Raises:
        ConfigError: pyarrow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._arrow = pyarrow()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._waiting: dict[type, list[Any]] = {kind: [] for kind in COLUMNS}
        self._writers: dict[type, Any] = {}

    def write(self, events: Sequence[Event]) -> int:
        """Take the trades and quotes among these and return how many they were."""
        taken = 0
        for event in events:
            waiting = self._waiting.get(type(event))
            if waiting is not None:
                waiting.append(event)
                taken += 1
        for kind, waiting in self._waiting.items():
            if len(waiting) >= GROUP_ROWS:
                self._flush(kind)
        return taken

    def close(self) -> None:
        """Write what waits, and the tables' ends."""
        for kind in COLUMNS:
            if self._waiting[kind]:
                self._flush(kind)
        for writer in self._writers.values():
            writer.close()

    def _flush(self, kind: type) -> None:
        name, columns = COLUMNS[kind]
        arrow, rows = self._arrow, self._waiting[kind]
        schema = arrow.schema(
            [(column, getattr(arrow, type_)()) for column, type_ in columns.items()]
        )
        if kind not in self._writers:
            self._writers[kind] = arrow.parquet.ParquetWriter(
                self._folder / f"{name}.parquet", schema
            )
        values = {column: [getattr(row, column) for row in rows] for column in columns}
        self._writers[kind].write_table(arrow.table(values, schema=schema))
        rows.clear()
