"""The root of every error Tidegate raises on purpose, and the feed errors.

Each class says whose turn it is to act: the user (ConfigError), or the other side of a wire
(FeedError). The message names the subject, what was found and what is allowed.
"""


class TidegateError(Exception):
    """Root of all errors raised on purpose; its text is one sentence meant for a person."""


class ConfigError(TidegateError):
    """The user's turn: an argument, a setting, a file or a credential is wrong. Exit code 2."""


class FeedError(TidegateError):
    """The venue's turn: a feed could not start, or ended in a way that a retry does not mend."""


class DecodeError(FeedError):
    """A file that should hold market data holds something else."""


class VenueRefused(FeedError):
    """The venue answered and said no.

    Attributes:
        code: the venue's own error number, or None where it gave none.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
