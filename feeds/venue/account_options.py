"""How a venue keeps its account."""

from decimal import Decimal

from msgspec import Struct


class AccountOptions(Struct, frozen=True):
    """What is traded with, and where.

    `path` is the file that keeps the account, None: it ends with the venue. `cash` is what a new
    one begins with, in dollars. `port` is where orders are taken, 0 for a free one.
    """

    path: str | None = None
    cash: Decimal = Decimal(100_000)
    port: int = 0
