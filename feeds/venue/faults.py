"""What a venue does wrong on purpose: rules, and the dice that say when one of them strikes.

Each rule counts what it could have struck, lets `after` of them pass, then strikes with `chance`,
at most `count` times. One seed gives the same faults for the same traffic.
"""

import tomllib
from collections.abc import Collection
from enum import StrEnum
from random import Random
from typing import Any

import msgspec

from feeds.errors import ConfigError


class What(StrEnum):
    """The faults. Of frames, of logins, of requests, and of orders."""

    DROP = "drop"
    REPEAT = "repeat"
    REORDER = "reorder"
    DELAY = "delay"
    STALL = "stall"
    HALF_CLOSE = "half_close"
    CUT = "cut"
    REFUSE = "refuse"
    SLOW_ACK = "slow_ack"
    LOSE_REQUEST = "lose_request"
    LOSE_ACK = "lose_ack"
    AUTH_EXPIRY = "auth_expiry"
    PARTIAL = "partial"
    REJECT = "reject"


class Where(StrEnum):
    """On the market-data stream, the trade_updates stream, or the REST API."""

    DATA = "data"
    UPDATES = "updates"
    REST = "rest"


STREAMS = frozenset({Where.DATA, Where.UPDATES})
REST = frozenset({Where.REST})
PLACES = {
    What.DROP: STREAMS,
    What.REPEAT: STREAMS,
    What.REORDER: STREAMS,
    What.DELAY: STREAMS | REST,
    What.STALL: STREAMS,
    What.HALF_CLOSE: STREAMS,
    What.CUT: STREAMS,
    What.REFUSE: STREAMS | REST,
    What.SLOW_ACK: REST,
    What.LOSE_REQUEST: REST,
    What.LOSE_ACK: REST,
    What.AUTH_EXPIRY: REST,
    What.PARTIAL: REST,
    What.REJECT: REST,
}
OF_FRAMES = frozenset(
    {What.DROP, What.REPEAT, What.REORDER, What.DELAY, What.STALL, What.HALF_CLOSE, What.CUT}
)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule.

    `request` narrows a fault of REST to requests that begin so, such as "POST /v2/orders".
    `seconds` is how long a delay, a stall, a slow answer or an expiry lasts. `code` is what a
    refusal says: an HTTP status, or on the market-data stream 406 (at the login) or 407 (slow
    client, amid the data). `size` is the most that one execution fills under a partial.
    """

    what: What
    where: Where = Where.REST
    request: str = ""
    chance: float = 1.0
    after: int = 0
    count: int | None = None
    seconds: float = 1.0
    code: int = 500
    size: float = 1.0


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of faults: a seed and the rules."""

    seed: int = 0
    fault: tuple[Fault, ...] = ()


def read_plan(text: str, where: str) -> FaultPlan:
    """Read a TOML file's text.

    Raises:
        ConfigError: in one sentence, what in it is wrong.
    """
    try:
        found: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from None
    return make_plan(found, where)


def make_plan(found: Any, where: str) -> FaultPlan:
    """Make a plan of plain values.

    Raises:
        ConfigError: in one sentence, what of them is wrong.
    """
    try:
        plan = msgspec.convert(found, FaultPlan)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    for number, fault in enumerate(plan.fault, 1):
        wrong = _objection(fault)
        if wrong:
            raise ConfigError(f"{where}: fault {number} ({fault.what}): {wrong}")
    return plan


def _objection(fault: Fault) -> str:
    places = PLACES[fault.what]
    if fault.where not in places:
        return f"where is {fault.where}: {', '.join(sorted(places))} is allowed"
    if not 0 <= fault.chance <= 1:
        return f"chance is {fault.chance}: 0 to 1 is allowed"
    if fault.after < 0 or (fault.count is not None and fault.count < 0):
        return "after and count are 0 or more"
    if not 0 <= fault.seconds <= 86_400:
        return f"seconds is {fault.seconds}: 0 to 86400 is allowed"
    if fault.what is What.REFUSE:
        return _wrong_code(fault)
    if not 0 < fault.size < 1e15:
        return f"size is {fault.size}: more than 0 is needed"
    return ""


def _wrong_code(fault: Fault) -> str:
    if fault.where is Where.DATA and fault.code not in {406, 407}:
        return f"code is {fault.code}: on the data stream 406 or 407 is allowed"
    if fault.where is Where.REST and not 400 <= fault.code <= 599:
        return f"code is {fault.code}: 400 to 599 is allowed"
    return ""


class Shaping(msgspec.Struct, frozen=True):
    """What becomes of one frame: wait so many seconds, send these, then perhaps break off.

    `deaf`: nothing is read meanwhile either, so that not even pings are answered.
    """

    frames: tuple[bytes, ...]
    wait: float = 0.0
    deaf: bool = False
    half_close: bool = False
    cut: bool = False
    slow_client: bool = False


class Faults:
    """The dice: rules are asked in their order, and the first that strikes decides.

    `struck` counts by the number of the rule, from 0; `places` are those that any rule is about.
    """

    def __init__(self, plan: FaultPlan = FaultPlan()) -> None:  # noqa: B008 - frozen
        self.begin(plan)

    def begin(self, plan: FaultPlan) -> None:
        """Begin anew with other rules."""
        self.plan = plan
        self.struck = [0] * len(plan.fault)
        self._passed = [0] * len(plan.fault)
        self._random = Random(plan.seed)
        self._expired_until = 0
        self.places = frozenset(fault.where for fault in plan.fault)

    def statistics(self) -> dict[str, Any]:
        """Return the rules and how often each has struck."""
        return {"plan": msgspec.to_builtins(self.plan), "struck": list(self.struck)}

    @property
    def has_struck(self) -> bool:
        """Whether any rule has struck; one about sizes has, from the first order on."""
        return any(self.struck) or self.most is not None

    def on_login(self, where: Where) -> int | None:
        """Return the code that a login is refused with, None where it is let in."""
        fault = self._strike(where, {What.REFUSE}, code=None if where is Where.UPDATES else 406)
        return None if fault is None else fault.code

    def on_request(self, method: str, path: str, now: int) -> Fault | None:
        """Return what happens to a request; one of DELAY, REFUSE, SLOW_ACK, LOSE_*, AUTH_EXPIRY."""
        if now < self._expired_until:
            return Fault(What.AUTH_EXPIRY)
        kinds = {
            *(What.DELAY, What.REFUSE, What.SLOW_ACK),
            *(What.LOSE_REQUEST, What.LOSE_ACK, What.AUTH_EXPIRY),
        }
        fault = self._strike(Where.REST, kinds, f"{method} {path}")
        if fault is not None and fault.what is What.AUTH_EXPIRY:
            self._expired_until = now + round(fault.seconds * 1e9)
        return fault

    def is_expired(self, now: int) -> bool:
        """Whether no key is good at the moment."""
        return now < self._expired_until

    def on_order(self) -> Fault | None:
        """Return what happens to an order that was taken: REJECT, or nothing."""
        return self._strike(Where.REST, {What.REJECT})

    @property
    def most(self) -> float | None:
        """The most that one execution may fill now, None for no limit."""
        sizes = [fault.size for fault in self.plan.fault if fault.what is What.PARTIAL]
        return min(sizes, default=None)

    def on_frame(self, where: Where) -> Fault | None:
        """Return what happens to a frame of a stream."""
        fault = self._strike(where, OF_FRAMES)
        if fault is None and where is Where.DATA:
            fault = self._strike(where, {What.REFUSE}, code=407)
        return fault

    def _strike(
        self,
        where: Where,
        kinds: Collection[What],
        request: str = "",
        code: int | None = None,
    ) -> Fault | None:
        for number, fault in enumerate(self.plan.fault):
            if fault.where is not where or fault.what not in kinds:
                continue
            if code is not None and fault.code != code:
                continue
            if not request.startswith(fault.request):
                continue
            self._passed[number] += 1
            is_over = fault.count is not None and self.struck[number] >= fault.count
            if self._passed[number] <= fault.after or is_over:
                continue
            if fault.chance < 1 and self._random.random() >= fault.chance:
                continue
            self.struck[number] += 1
            return fault
        return None


class Shaper:
    """Applies faults to the frames of one connection."""

    def __init__(self, faults: Faults, where: Where) -> None:
        self._faults, self._where = faults, where
        self._held: bytes | None = None

    def take(self, frame: bytes) -> Shaping:
        """Return what to do in the place of sending this frame."""
        fault = self._faults.on_frame(self._where)
        held, self._held = self._held, None
        after = () if held is None else (held,)  # the one that was held comes later than this
        match fault.what if fault else None:
            case None:
                return Shaping((frame, *after))
            case What.DROP:
                return Shaping(after)
            case What.REPEAT:
                return Shaping((frame, frame, *after))
            case What.REORDER:
                self._held = frame
                return Shaping(after)
        assert fault is not None  # noqa: S101  # matched above
        if fault.what is What.REFUSE:
            return Shaping((), slow_client=True)
        return Shaping(
            () if fault.what in {What.HALF_CLOSE, What.CUT} else (frame, *after),
            wait=fault.seconds if fault.what in {What.DELAY, What.STALL} else 0.0,
            deaf=fault.what is What.STALL,
            half_close=fault.what is What.HALF_CLOSE,
            cut=fault.what is What.CUT,
        )
