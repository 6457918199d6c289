"""A disk that forgets: what is left of files when the power goes, from a record of system calls.

A command runs under strace. Its calls are played to a model of a disk that promises no more than
POSIX does: a write is there for certain once a sync of its file has begun after it and has
returned, a name once a sync of its folder has. All else may be there or not: writes whole, by
sectors or not at all, each for itself; names in the order in which they were made, up to any.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

SECTOR = 512
CALLS = (
    "pwrite64,write,fdatasync,fsync,openat,rename,renameat,renameat2,unlink,unlinkat,ftruncate,"
    "sendto,sendmsg"
)
STRACE = ["strace", "-f", "-qq", "-yy", "-xx", "-s", "1000000", "--seccomp-bpf"]

LINE = re.compile(r"(\d+) +(.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.DOTALL)
UNFINISHED = " <unfinished ...>"
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
HANDLE = re.compile(r"\d+<((?:->|[^>])*)>")
FILE = re.compile(r"^((?:\\x[0-9a-f]{2})+)$")


class Call(msgspec.Struct):
    """One system call: `handle` is what its first argument stands for, `texts` its strings.

    `began` and `ended` are places in the order of all beginnings and ends.
    """

    name: str
    handle: str
    texts: list[bytes]
    numbers: list[int]
    words: str
    began: int
    ended: int = 0
    result: int = 0
    opened: str = ""


def record(command: Sequence[str | Path], folder: Path, trace: Path) -> int:
    """Run a command in a folder and write its calls to a file; return its exit code."""
    strace = [*STRACE, "-o", str(trace), "-e", f"trace={CALLS}", *map(str, command)]
    return subprocess.run(
        strace, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
    ).returncode


def read(trace: Path) -> Iterator[tuple[Call, bool]]:
    """Yield each call twice, in the order of time: as it begins (False), and as it ends (True)."""
    open_calls: dict[str, tuple[str, Call]] = {}
    place = 0
    for line in trace.read_text("ascii").splitlines():
        found = LINE.fullmatch(line)
        if found is None or found[2].startswith(("---", "+++")):
            continue
        place += 1
        process, text = found[1], found[2]
        resumed = RESUMED.fullmatch(text)
        if resumed is None:
            is_whole = not text.endswith(UNFINISHED)
            call = _call(text.removesuffix(UNFINISHED), place)
            yield call, False
            if not is_whole:
                open_calls[process] = text.removesuffix(UNFINISHED), call
                continue
        elif process in open_calls:
            begun, call = open_calls.pop(process)
            text = begun + resumed[1]
        else:
            continue
        call.ended = place
        _, _, result = text.rpartition(" = ")
        call.result = int(result.split()[0].split("<")[0]) if result[0] in "-0123456789" else -1
        if call.name == "openat" and call.result >= 0:
            call.opened = _handle(result)
        yield call, True


def _call(text: str, place: int) -> Call:
    name, _, arguments = text.partition("(")
    texts = [bytes.fromhex(each.replace("\\x", "")) for each in TEXT.findall(arguments)]
    words = TEXT.sub("", HANDLE.sub("", arguments, count=1))
    numbers = [int(each) for each in re.findall(r"(?<![\w.])\d+(?![\w.])", words.split(" = ")[0])]
    return Call(name, _handle(arguments), texts, numbers, words, place)


def _handle(text: str) -> str:
    """Return the path or the connection that strace shows of a handle."""
    found = HANDLE.match(text)
    if found is None:
        return ""
    inside = found[1]
    is_path = FILE.match(inside) is not None
    return os.fsdecode(bytes.fromhex(inside.replace("\\x", ""))) if is_path else inside


class _Write(msgspec.Struct):
    """Bytes at a place of a file; or its new length, where there are none. `ended` 0: not yet."""

    place: int
    data: bytes | None
    ended: int = 0


class _File:
    def __init__(self) -> None:
        self.safe = bytearray()
        self.waiting: list[_Write] = []
        self.length = 0

    def add(self, write: _Write) -> _Write:
        self.waiting.append(write)
        if write.data is None:
            self.length = write.place
        else:
            self.length = max(self.length, write.place + len(write.data))
        return write

    def sync(self, began: int) -> None:
        done = [write for write in self.waiting if 0 < write.ended < began]
        for write in done:
            _put(self.safe, write)
        self.waiting = [write for write in self.waiting if write not in done]


def _put(content: bytearray, write: _Write) -> None:
    if write.data is None:
        del content[write.place :]
        content.extend(bytes(write.place - len(content)))
        return
    content.extend(bytes(max(0, write.place - len(content))))
    content[write.place : write.place + len(write.data)] = write.data


Names = list[tuple[str, _File | None]]


class Disk:
    """The files below one folder, as a run has left them so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._now: dict[str, _File] = {}
        self._safe: dict[str, _File] = {}
        self._renamed: dict[str, list[tuple[int, Names]]] = {}  # by folder, what is not synced
        self._begun: dict[int, _Write] = {}

    def play(self, call: Call, is_over: bool) -> None:
        """Have a call done; a write may be on the disk from its beginning."""
        path = call.handle
        match call.name:
            case "pwrite64" | "write" | "ftruncate" if path in self._now and not is_over:
                file = self._now[path]
                if call.name == "ftruncate":
                    write = _Write(call.numbers[-1], None)
                else:
                    data = call.texts[0]
                    at = call.numbers[-1] if call.name == "pwrite64" else file.length
                    write = _Write(at, data)
                self._begun[call.began] = file.add(write)
            case "pwrite64" | "write" | "ftruncate" if is_over and call.began in self._begun:
                write = self._begun.pop(call.began)
                assert call.result == (0 if write.data is None else len(write.data)), call
                write.ended = call.ended
            case _ if not is_over or call.result < 0:
                return
            case "fsync" | "fdatasync" if path in self._now:
                self._now[path].sync(call.began)
            case "fsync" | "fdatasync":
                kept = self._renamed.pop(path, [])
                for ended, names in kept:
                    if ended < call.began:
                        _name(self._safe, names)
                    else:
                        self._renamed.setdefault(path, []).append((ended, names))
            case "openat" if Path(call.opened).is_relative_to(self.folder):
                if call.opened not in self._now and "O_CREAT" in call.words:
                    self._rename(call, [(call.opened, _File())])
                elif call.opened in self._now and "O_TRUNC" in call.words:
                    self._now[call.opened].add(_Write(0, None, call.ended))
            case "rename" | "renameat" | "renameat2":
                before, after = (str(self._place(text)) for text in call.texts)
                if before in self._now:
                    self._rename(call, [(before, None), (after, self._now[before])])
            case "unlink" | "unlinkat":
                self._rename(call, [(str(self._place(call.texts[0])), None)])

    def image(self, folder: Path, random: Random | None = None) -> None:
        """Write what the power's loss has left into an empty folder.

        Args:
            folder: where.
            random: draws what is there of all that need not be; None is nothing of it.
        """
        names = dict(self._safe)
        for changes in self._renamed.values():
            count = 0 if random is None else random.randint(0, len(changes))
            for _, change in changes[:count]:
                _name(names, change)
        for name, file in names.items():
            if name.endswith("-shm"):
                continue  # memory that SQLite makes anew from its log
            content = bytearray(file.safe)
            if random is not None:
                chance = random.choice((0.1, 0.5, 0.9))
                for write in file.waiting:
                    for part in _sectors(write):
                        if random.random() < chance:
                            _put(content, part)
            path = folder / Path(name).relative_to(self.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o600)

    def _place(self, text: bytes) -> Path:
        return self.folder.parent / os.fsdecode(text)

    def _rename(self, call: Call, names: Names) -> None:
        if not Path(names[-1][0]).is_relative_to(self.folder):
            return
        _name(self._now, names)
        folder = str(Path(names[-1][0]).parent)
        self._renamed.setdefault(folder, []).append((call.ended, names))


def _name(where: dict[str, _File], names: Names) -> None:
    for name, file in names:
        if file is None:
            where.pop(name, None)
        else:
            where[name] = file


def _sectors(write: _Write) -> Iterator[_Write]:
    if write.data is None:
        yield write
        return
    place, data = write.place, write.data
    while data:
        size = SECTOR - place % SECTOR
        yield _Write(place, data[:size])
        place, data = place + size, data[size:]
