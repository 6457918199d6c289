"""The rest of the tree of errors; the root and the feed errors live in `feeds.errors`."""

from feeds.errors import ConfigError, DecodeError, FeedError, TidegateError, VenueRefused

__all__ = [
    "AlreadyRunning",
    "ConfigError",
    "DecodeError",
    "FeedError",
    "IllegalTransition",
    "InternalError",
    "OrderRejected",
    "QuotaExhausted",
    "RunFailed",
    "Stopped",
    "StrategyError",
    "TidegateError",
    "VenueRefused",
]


class AlreadyRunning(TidegateError):
    """Another run uses the same state. Exit code 3."""


class StrategyError(TidegateError):
    """The strategy author's turn: the strategy could not be loaded, or raised.

    Attributes:
        where: the callback that raised ("initialize", "on_data", ...), or "load".
    """

    def __init__(self, message: str, where: str) -> None:
        super().__init__(message)
        self.where = where


class OrderRejected(TidegateError):
    """An order that may not leave: a risk check or the broker said no, with the reason."""


class QuotaExhausted(TidegateError):
    """A job needed a training minute that the bucket does not have."""


class IllegalTransition(TidegateError):
    """Our turn: an event came that the state table has no row for.

    Attributes:
        subject: what it happened to; state: where it was; event: what came.
    """

    def __init__(self, subject: str, state: str, event: str) -> None:
        super().__init__(f"{subject} is {state}: it cannot take {event}")
        self.subject, self.state, self.event = subject, state, event


class RunFailed(TidegateError):
    """The run ended for a reason named in the message. Exit code 1."""


class InternalError(TidegateError):
    """Our turn: a part of the runtime broke. Exit code 1; the traceback is in the log at debug."""


class Stopped(SystemExit):
    """A signal asked for the end before anything had begun; unlike sys.exit, no author's doing."""
