"""A venue's spellings and ours, for one connection: what was asked for, or else anything, bounded.

A live connection asks for symbols, and what it did not ask for is none of its business. The decoder
of a recording asks for nothing and takes what comes, up to NAMES spellings: a venue gone mad must
not fill the memory.
"""

from collections.abc import Callable

from feeds.events import Symbol

NAMES = 4096
"""Spellings learned where nothing was asked for."""
NAME_CHARS = 40


class Names:
    """Maps one way and back; `read` makes a canonical name of a spelling."""

    def __init__(self, read: Callable[[str], Symbol], write: Callable[[Symbol], str]) -> None:
        self._read, self._write = read, write
        self._symbols: dict[str, Symbol] = {}
        self._is_open = True

    def ask(self, symbol: Symbol) -> str:
        """Return the venue's spelling, and take from now on only what was asked for."""
        if self._is_open:
            self._symbols.clear()
            self._is_open = False
        name = self._write(symbol)
        self._symbols[name] = symbol
        return name

    def forget(self, symbol: Symbol) -> str:
        """Return the venue's spelling, and no longer take it."""
        name = self._write(symbol)
        self._symbols.pop(name, None)
        return name

    def find(self, name: str) -> Symbol | None:
        """Return the canonical name, or None for what was not asked for.

        Raises:
            ValueError: it is too short or too long to be a name.
        """
        symbol = self._symbols.get(name)
        if symbol is not None:
            return symbol
        if not 0 < len(name) <= NAME_CHARS:
            raise ValueError(f"a symbol of {len(name)} characters")
        if not self._is_open or len(self._symbols) >= NAMES:
            return None
        symbol = self._symbols[name] = self._read(name)
        return symbol
