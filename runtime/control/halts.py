"""A halt outlives its run: why no order may leave, as a file in the deployment's folder."""

import contextlib
from pathlib import Path

from runtime.disk import write_whole

FILE = "halt"


def keep_halt(folder: Path, why: str) -> None:
    """Store why no order may leave, on the disk when this returns; "" takes it back; blocks.

    Raises:
        OSError: it is not stored.
    """
    path = folder / FILE
    if why:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, why.encode())
    else:
        path.unlink(missing_ok=True)


def kept_halt(folder: Path) -> str:
    """Return why no order may leave, "" where orders may; blocks.

    A halt that cannot be read is one all the same.
    """
    path = folder / FILE
    with contextlib.suppress(FileNotFoundError):
        try:
            return path.read_text(encoding="utf-8", errors="replace") or "halted"
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    return ""
