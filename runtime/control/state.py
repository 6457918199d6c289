"""One folder for each deployment, `STATE_DIR/NAME`, used by one run at a time.

The lock is the kernel's, so it ends with its process, however that ends. Whatever a run leaves for
the next one is in here: the sign of life, the quota, the models.
"""

import fcntl
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Self

from runtime.disk import write_whole
from runtime.errors import AlreadyRunning, ConfigError

LOCK = "lock"
OWNER = "strategy"
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def deployment_name(wanted: str | None, strategy: str) -> str:
    """Return the name that was asked for, or else the strategy's, made fit to name a folder.

    Raises:
        ConfigError: a name that is none.
    """
    if wanted is None:
        return re.sub(r"[^A-Za-z0-9._-]", "_", strategy)[:64]
    if not NAME.fullmatch(wanted):
        raise ConfigError(
            f"the name {wanted!r} cannot name a folder: letters, digits, '.', '_' and '-' are "
            "allowed, at most 64, the first no '.'"
        )
    return wanted


def deployments(root: Path) -> list[Path]:
    """Return the folders in a state folder that a run has used, sorted by name.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        found = [path for path in root.iterdir() if NAME.fullmatch(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"the state folder {root} cannot be read: {error.strerror}") from None
    return sorted(found)


def check_free(root: Path, name: str) -> None:
    """Find out early whether another run has a folder; the lock itself is taken by `StateFolder`.

    Raises:
        AlreadyRunning: another process uses it.
    """
    if (root / name / LOCK).exists():
        with suppress(OSError):  # what cannot be used is told when it is to be used
            os.close(_lock(root / name))


class StateFolder:
    """A deployment's folder, held by this process until it is closed. Every method blocks.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, root: Path, name: str) -> Self:
        """Make the folder if need be and lock it.

        Raises:
            AlreadyRunning: another process uses it.
            ConfigError: it cannot be made or written to.
        """
        path = root / name
        try:
            return cls(path, _lock(path))
        except OSError as error:
            raise ConfigError(
                f"the state folder {path} cannot be used: {error.strerror}; choose another with "
                "--state-dir"
            ) from None

    def check(self) -> str:
        """Return "" if all is as it was, else one sentence; what has vanished is made again."""
        try:
            there = os.stat(self.path / LOCK)
            mine = os.fstat(self._lock)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return ""
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"the state folder {self.path} cannot be reached: {error.strerror}"
        try:
            lock = _lock(self.path)
        except AlreadyRunning as error:
            return f"the state folder {self.path} was replaced: {error}"
        except OSError as error:
            return f"the state folder {self.path} has vanished: {error.strerror}"
        os.close(self._lock)
        self._lock = lock
        return f"the state folder {self.path} had vanished and was made again"

    def take_over(self, file: str) -> str:
        """Note whose folder it is from now on; return the file of before, "" if it is the same.

        Two files may each have a class of one name, which names the folder unless it is given one.
        """
        owner, file = self.path / OWNER, str(Path(file).resolve()) if file else ""
        try:
            before = owner.read_text(encoding="utf-8", errors="replace")
        except OSError:
            before = ""
        if file and before != file:
            with suppress(OSError):  # it is a hint: what else cannot be written is told
                write_whole(owner, file.encode("utf-8", "surrogateescape"))
        return before if file and before != file else ""

    def close(self) -> None:
        """Give the folder free."""
        os.close(self._lock)


def _lock(path: Path) -> int:
    """Return the open, locked lock file of a folder, with our process written into it.

    Raises:
        AlreadyRunning: another process has it.
        OSError: the folder cannot be used.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"{path} is used by {_holder(lock)}: stop that run, or give "
                "this one another --name or --state-dir"
            ) from None
        owner = json.dumps({"pid": os.getpid(), "host": os.uname().nodename}).encode()
        os.ftruncate(lock, 0)
        os.pwrite(lock, owner, 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _holder(lock: int) -> str:
    try:
        owner = json.loads(os.pread(lock, 1000, 0))
        return f"process {int(owner['pid'])} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
