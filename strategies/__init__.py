"""Examples: one lesson per file. Copy one and change it."""

from pathlib import Path


def folder() -> Path:
    """Return where the example files are, in a checkout or an installed wheel."""
    return Path(__file__).parent
