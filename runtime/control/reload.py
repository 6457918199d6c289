"""What SIGHUP does: log files are opened anew, and what can change while a run goes on is read.

That is the level of the log. Of other settings that have changed it is said that they wait for the
next start. All of it is done in a thread: the disk may be slow.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from runtime.control.logs import LEVELS
from runtime.control.sinks import Sinks
from runtime.disk import DiskThread
from runtime.errors import ConfigError
from runtime.settings import Settings

LIVE = {"log.level"}


class Reload:
    """Reloads one run.

    Args:
        log: where it is told.
        sinks: what is opened anew, and given another level.
        settings: as they are now.
        read: returns them as they are to be; blocks.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        sinks: Sinks,
        settings: Settings,
        read: Callable[[], Settings],
    ) -> None:
        self._log, self._sinks, self._settings, self._read = log, sinks, settings, read
        self._thread = DiskThread("reload")

    def ask(self) -> None:
        """Have it done; from any thread, at once."""
        self._sinks.reopen()
        self._thread.put(self._do)

    def _do(self) -> None:
        try:
            found = self._read()
        except ConfigError as error:
            self._log.warning("reloaded", text=f"log files only, no settings: {error}")
            return
        changed = set(differences(self._settings, found))
        self._sinks.least = LEVELS[found.log.level]
        self._settings = msgspec.structs.replace(
            self._settings,
            log=msgspec.structs.replace(self._settings.log, level=found.log.level),
        )
        fields: dict[str, object] = {"log_level": found.log.level}
        if later := sorted(changed - LIVE):
            fields["at_the_next_start"] = ", ".join(later)
        self._log.warning("reloaded", **fields)


def differences(before: Settings, after: Settings) -> Iterator[str]:
    """Yield the keys, such as "log.level", that have other values."""
    old, new = dict(_flat(before)), dict(_flat(after))
    return (key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    table: Mapping[str, Any] = (
        value if isinstance(value, Mapping) else msgspec.structs.asdict(value)
    )
    for key, inner in table.items():
        if isinstance(inner, msgspec.Struct | dict):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
