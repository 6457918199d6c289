"""What decoders do with frames that make no event: count them by kind, or keep an excerpt.

Both are bounded, so that a venue gone mad fills neither memory nor log.
"""

from feeds.events import EXCERPT_CHARS, Malformed

KINDS_COUNTED = 64
"""Kinds counted by name; further ones count as "other"."""
KIND_CHARS = 32


def count_kind(ignored: dict[str, int], kind: str) -> None:
    """Count one frame of this kind."""
    kind = kind[:KIND_CHARS]
    if kind not in ignored and len(ignored) >= KINDS_COUNTED:
        kind = "other"
    ignored[kind] = ignored.get(kind, 0) + 1


def malformed(venue: str, error: Exception, data: bytes | str, received: int) -> Malformed:
    """Tell of a frame that could not be read; what is no text becomes replacement characters."""
    text = data if isinstance(data, str) else data[: 4 * EXCERPT_CHARS].decode(errors="replace")
    excerpt = text[:EXCERPT_CHARS].encode(errors="replace").decode()
    return Malformed(f"{venue}: {error}"[:EXCERPT_CHARS], excerpt, received)
