"""A run leaves a sign of life in its state folder; `tidegate health` reads how old it is."""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime.errors import RunFailed
from runtime.redaction import KNOWN

FILE = "heartbeat.json"
FRESH_SECONDS = 30.0


def write_heartbeat(folder: Path, run_id: str, status: Mapping[str, object]) -> None:
    """Replace the heartbeat file whole, readable by its owner only; blocks on the disk.

    A disk that is full or gone does not end the run: the file then grows old, which is the sign.
    """
    text = json.dumps({"run": run_id, "pid": os.getpid(), "time": time.time(), **status})
    text = KNOWN.hide(text)  # a reason may quote anything
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".heartbeat-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(folder / FILE)
        except OSError:
            Path(name).unlink(missing_ok=True)
    except OSError:
        return


def end_heartbeat(folder: Path, run_id: str, reason: str) -> None:
    """Say that a run has ended, where the last sign of life is its own; blocks on the disk."""
    if read_heartbeat(folder).get("run") == run_id:
        write_heartbeat(folder, run_id, {"ended": reason})


def newest_heartbeat(root: Path) -> Path:
    """Return the folder in `root` with the newest sign of life; `root` where there is none."""
    found = {}
    for path in root.glob(f"*/{FILE}"):
        with suppress(OSError):
            found[path.stat().st_mtime_ns] = path.parent
    return found[max(found)] if found else root


def check_heartbeat(folder: Path) -> str:
    """Return one sentence about the run in `folder`.

    Raises:
        RunFailed: there is none, it has ended, or its last sign of life is too old.
    """
    found = read_heartbeat(folder)
    try:
        age = time.time() - float(found["time"])
        run = str(found["run"])
    except (ValueError, KeyError, TypeError, OverflowError):
        raise RunFailed(f"no run has left a sign of life in {folder}") from None
    if "ended" in found:
        raise RunFailed(f"{run} has ended: {found['ended']}")
    if not -FRESH_SECONDS <= age <= FRESH_SECONDS:  # also one from a time that has not come
        raise RunFailed(f"{run} gave its last sign of life {age:.0f} s ago")
    return f"{run} is alive: its last sign of life is {max(0.0, age):.0f} s old"


def read_heartbeat(folder: Path) -> dict[str, Any]:
    """Return what the run in a folder last said of itself; nothing where it said nothing."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
