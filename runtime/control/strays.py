"""What fails where nobody waits for it is a line in the log: an author's own tasks and threads."""

import asyncio
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

from structlog.typing import FilteringBoundLogger

from runtime.callbacks import describe
from runtime.control.sinks import Sinks
from runtime.redaction import KNOWN


def hear_strays(log: FilteringBoundLogger, writer: Sinks) -> None:
    """Have the running loop and this process log what would be a traceback on stderr.

    For the rest of the process: what comes after the log has been closed is a sentence on stderr.
    """

    def tell(where: str, error: BaseException | None) -> None:
        said = describe(error) if error is not None else ""
        if writer.is_closed:
            with suppress(OSError, ValueError):
                sentence = KNOWN.hide(f"tidegate: failed in the background: {where}: {said}\n")
                sys.stderr.write(sentence)
            return
        log.error("failed in the background", where=where, error=said)
        if error is not None:
            log.debug("failed", traceback="".join(traceback.format_exception(error)))

    def in_the_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        tell(str(context["message"]), context.get("exception"))

    def in_a_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not SystemExit:
            tell(f"thread {failed.thread.name if failed.thread else ''}", failed.exc_value)

    def nowhere(failed: "sys.UnraisableHookArgs") -> None:
        tell(failed.err_msg or "where nothing can be raised", failed.exc_value)

    asyncio.get_running_loop().set_exception_handler(in_the_loop)
    threading.excepthook = in_a_thread
    sys.unraisablehook = nowhere
