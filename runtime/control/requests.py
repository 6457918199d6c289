"""A request to a run that is alive, as a file in its state folder, and the answer beside it.

Only who may write to the folder can ask. The run takes a request within about a second.
"""

import secrets
import time
from pathlib import Path

import msgspec

from runtime.disk import write_whole
from runtime.errors import RunFailed

REQUEST, ANSWER = "rollback.request", "rollback.answer"
PATIENCE_SECONDS, LOOK_SECONDS = 10.0, 0.1


class RollbackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let version `to` of a slot serve again, None the one before; `by` is who asks."""

    id: str
    slot: str
    to: int | None
    by: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of a request, in one sentence."""

    id: str
    done: bool
    text: str


def take_request(folder: Path) -> RollbackRequest | None:
    """Return a request that waits, and remove it; None where there is none, or no readable one."""
    path = folder / REQUEST
    try:
        content = path.read_bytes()
        path.unlink()
        return msgspec.json.decode(content, type=RollbackRequest)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None


def answer(folder: Path, request: RollbackRequest, said: tuple[bool, str]) -> None:
    """Leave the answer; where it cannot be written, whoever asked waits in vain."""
    try:
        write_whole(folder / ANSWER, msgspec.json.encode(Answer(request.id, *said)))
    except OSError:
        return


def ask(folder: Path, slot: str, to: int | None, by: str) -> str:
    """Ask the run in this folder for a rollback and return its answer; blocks.

    Raises:
        RunFailed: it refused, or did not answer.
    """
    request = RollbackRequest(secrets.token_hex(8), slot, to, by)
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        write_whole(folder / REQUEST, msgspec.json.encode(request))
        while time.monotonic() < until:
            found = _answer(folder)
            if found is not None and found.id == request.id:
                (folder / ANSWER).unlink(missing_ok=True)
                if found.done:
                    return found.text
                raise RunFailed(found.text)
            time.sleep(LOOK_SECONDS)
    except OSError as error:
        raise RunFailed(f"the run in {folder} cannot be asked: {error.strerror}") from None
    raise RunFailed(f"the run in {folder} has not answered in {PATIENCE_SECONDS:.0f} s")


def _answer(folder: Path) -> Answer | None:
    try:
        return msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
