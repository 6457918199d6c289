"""Speaks to a run that goes on, over the socket in its state folder."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from runtime.control.state import deployments
from runtime.errors import ConfigError, RunFailed

SOCKET, LOG = "api.sock", "log.jsonl"
PATIENCE_SECONDS = 15.0


class Client:
    """One run's API.

    Args:
        path: of the deployment's folder.

    Raises:
        RunFailed: nobody answers there, or what was asked for could not be done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path / SOCKET)),
            base_url="http://tidegate",
            timeout=PATIENCE_SECONDS,
            headers={"X-Tidegate-By": f"{_user()} by tidegate"},
        )

    def get(self, path: str, **query: Any) -> Any:
        """Read one thing."""
        with self._told():
            return self._answer(self._http.get(path, params=query))

    def post(self, path: str, **words: Any) -> Any:
        """Have one thing done."""
        with self._told():
            return self._answer(self._http.post(path, json=words or None))

    def stream(self, path: str, **query: Any) -> Iterator[tuple[str, str]]:
        """Hear server-sent events, as their name and data, until the run ends."""
        with (
            self._told(),
            self._http.stream("GET", path, params=query, timeout=httpx.Timeout(60.0)) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                answer.read()
                self._answer(answer)
            name, data = "", []
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data.append(line[6:])
                elif not line and data:
                    yield name, "\n".join(data)
                    name, data = "", []

    def _answer(self, answer: httpx.Response) -> Any:
        found = answer.json()
        if answer.is_error:
            raise RunFailed(str(found.get("detail", answer.reason_phrase)))
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, FileNotFoundError):
            raise RunFailed(f"no run of {self.path.name} goes on in {self.path.parent}") from None
        except (httpx.RemoteProtocolError, httpx.ReadError):
            raise RunFailed(f"the run of {self.path.name} has ended") from None
        except httpx.TimeoutException:
            raise RunFailed(
                f"the run of {self.path.name} has not answered for {PATIENCE_SECONDS:.0f} s"
            ) from None


def running(root: Path) -> list[Path]:
    """Return the deployments in a state folder that somebody serves now."""
    return [path for path in deployments(root) if _listens(path / SOCKET)]


def find_run(root: Path, name: str | None) -> Client:
    """Return the client of one run.

    Raises:
        ConfigError: no such deployment, or several run and none was named.
        RunFailed: none runs.
    """
    if name is not None:
        known = [path.name for path in deployments(root)]
        if name not in known:
            raise ConfigError(
                f"{root} has no deployment {name!r}: it has {', '.join(known) or 'none'}"
            )
        return Client(root / name)
    there = running(root)
    if not there:
        raise RunFailed(f"no run goes on in {root}")
    if len(there) > 1:
        names = ", ".join(path.name for path in there)
        raise ConfigError(f"several runs go on in {root}: say which with --name: {names}")
    return Client(there[0])


def find_kept(root: Path, name: str | None) -> Path | None:
    """Return the folder of a deployment that does not run but has left a log; None where one runs.

    Without a name it is the one deployment there is, unless any runs.

    Raises:
        RunFailed: it does not run, and has left none.
    """
    there = deployments(root)
    if name is None and len(there) != 1:
        return None
    path = there[0] if name is None else root / name
    if path not in there or _listens(path / SOCKET):
        return None
    if not (path / LOG).exists():
        raise RunFailed(f"no run of {path.name} goes on in {root}, and none has left a log there")
    return path


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as there, suppress(OSError):
        there.settimeout(1.0)
        there.connect(str(path))
        return True
    return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
