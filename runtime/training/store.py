"""The versions of a deployment's models on the disk: signed, checked, written whole or not at all.

`models/SLOT/000007.model` holds the bytes; `000007.json` beside it says what they are, with their
sum and our signature, and is written last: a version without it does not exist. Only what this
folder's own key has signed is read. Every method blocks.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

import msgspec

from runtime.disk import sync_folder, write_whole
from runtime.errors import ConfigError
from runtime.training.formats import Encoded, Unreadable

KEY, MODELS, ROLLBACK, HIGHEST = "key", "models", "rollback.json", "highest"
KEY_BYTES = 32
NAME_BYTES = 150


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stored version is; times in ns UTC, `sum` the SHA-256 of its bytes."""

    slot: str
    version: int
    trained_at: int
    data_until: int
    job: str
    name: str
    metrics: dict[str, float]
    formats: dict[str, str]
    size: int
    sum: str


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A manifest and the HMAC-SHA256 of it."""

    manifest: Manifest
    signature: str


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The versions above `to` up to `above` do not serve; `by` and `at` (ns UTC) are for people."""

    to: int
    above: int
    by: str
    at: int


class SlotVersions(msgspec.Struct, frozen=True):
    """One slot's versions, newest first, and the highest number that was ever given."""

    slot: str
    versions: tuple[Manifest, ...]
    highest: int
    rollback: Rollback | None

    @property
    def serving(self) -> tuple[Manifest, ...]:
        """What may serve, the one that should first."""
        return tuple(found for found in self.versions if not self.is_withdrawn(found.version))

    def is_withdrawn(self, version: int) -> bool:
        """Whether a rollback has taken it out of service."""
        rolled = self.rollback
        return rolled is not None and rolled.to < version <= rolled.above


class ModelStore:
    """The models of one deployment, in its state folder, which this process has locked.

    Args:
        folder: the state folder.
        key: what signs.
        keep: how many versions of a slot stay, beside the one that serves.
    """

    def __init__(self, folder: Path, key: bytes, keep: int) -> None:
        self._folder = folder
        self._key = key
        self._keep = keep

    @classmethod
    def open(cls, folder: Path, keep: int) -> Self:
        """Read the folder's key, or make one.

        Raises:
            ConfigError: the key is damaged, cannot be had, or may be read by others.
        """
        path = folder / KEY
        try:
            if not path.exists():
                write_whole(path, secrets.token_bytes(KEY_BYTES))
            key, mode = path.read_bytes(), path.stat().st_mode & 0o777
        except OSError as error:
            raise ConfigError(f"the key {path} cannot be used: {error.strerror}") from None
        if mode & 0o077:
            raise ConfigError(f"the key {path} may be read by others (mode {mode:o}): chmod 600 it")
        if len(key) != KEY_BYTES:
            raise ConfigError(
                f"the key {path} has {len(key)} bytes, not {KEY_BYTES}: remove it to begin anew, "
                "without the models that it has signed"
            )
        return cls(folder, key, keep)

    def write_key(self) -> None:
        """Have the key there, where the folder had to be made again.

        Raises:
            OSError: it cannot be written.
        """
        if not (self._folder / KEY).exists():
            write_whole(self._folder / KEY, self._key)

    def catalog(self) -> tuple[dict[str, SlotVersions], list[str]]:
        """Return what is there, by `folder_name`, and a sentence for each file that does not count.

        Raises:
            ConfigError: the folder cannot be read.
        """
        notes: list[str] = []
        root = self._folder / MODELS
        try:
            places = [place for place in sorted(root.iterdir()) if place.is_dir()]
            return {place.name: self._versions(place, notes) for place in places}, notes
        except FileNotFoundError:
            return {}, notes
        except OSError as error:
            raise ConfigError(f"{root} cannot be read: {error.strerror}") from None

    def tidy(self) -> None:
        """Remove what a killed run has left half written; only for who holds the folder's lock."""
        for path in (self._folder / MODELS).glob("*/.*"):
            path.unlink(missing_ok=True)

    def save(self, manifest: Mapping[str, Any], encoded: Encoded) -> Manifest:
        """Write a version: its bytes, then what they are; then remove what is too many.

        Args:
            manifest: the fields of Manifest, without formats, size and sum.
            encoded: the bytes.

        Raises:
            OSError: it is not stored.
        """
        data = msgspec.msgpack.encode(encoded)
        whole = Manifest(
            **manifest,
            formats=encoded.formats,
            size=len(data),
            sum=hashlib.sha256(data).hexdigest(),
        )
        place = self._made(whole.slot)
        write_whole(place / f"{whole.version:06}.model", data)
        signed = msgspec.json.encode(Signed(whole, self._sign(whole)))
        write_whole(place / f"{whole.version:06}.json", msgspec.json.format(signed, indent=2))
        self._prune(place)
        return whole

    def note_number(self, slot: str, version: int) -> None:
        """Note that a version was numbered that is not stored, so that no other gets its number.

        Raises:
            OSError: it was not written.
        """
        write_whole(self._made(slot) / HIGHEST, str(version).encode())

    def versions(self, slot: str) -> SlotVersions:
        """Return what is there of one slot.

        Raises:
            OSError: nothing is.
        """
        return self._versions(self._place(slot), [])

    def load(self, manifest: Manifest) -> Encoded:
        """Read the bytes of a version.

        Raises:
            Unreadable: they are not those that were stored.
        """
        path = self._place(manifest.slot) / f"{manifest.version:06}.model"
        return read_checked(path, manifest)

    def read_manifest(self, path: Path) -> Manifest:
        """Read what a version is.

        Raises:
            Unreadable: it is damaged, or this folder has not signed it.
        """
        try:
            signed = msgspec.json.decode(path.read_bytes(), type=Signed)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, RecursionError):
            raise Unreadable("is damaged") from None
        if not hmac.compare_digest(signed.signature, self._sign(signed.manifest)):
            raise Unreadable("was not signed by this state folder")
        return signed.manifest

    def roll_back(self, versions: SlotVersions, to: int | None, by: str, now: int) -> Rollback:
        """Have an older version serve from now on; `to` None is the one before.

        Raises:
            ConfigError: there is no such version.
            OSError: it was not written.
        """
        serving = [found.version for found in versions.serving]
        if to is None:
            if len(serving) < 2:
                raise ConfigError(f"slot {versions.slot!r} has no version to roll back to")
            to = serving[1]
        stored = [found.version for found in versions.versions]
        if to not in stored:
            raise ConfigError(
                f"slot {versions.slot!r} has no version {to}: stored are "
                f"{', '.join(map(str, sorted(stored))) or 'none'}"
            )
        rollback = Rollback(to, max(versions.highest, to), by, now)
        write_whole(self._place(versions.slot) / ROLLBACK, msgspec.json.encode(rollback))
        return rollback

    # ---- inside ------------------------------------------------------------------------------

    def _versions(self, place: Path, notes: list[str]) -> SlotVersions:
        found, numbers, slot = [], [0], unquote(place.name)
        rollback = _rollback(place, notes)
        for path in sorted(place.iterdir()):
            if path.suffix not in {".json", ".model"} or not path.stem.isdigit():
                continue
            numbers.append(int(path.stem))
            if path.suffix == ".model":
                continue
            try:
                manifest = self.read_manifest(path)
                if self._place(manifest.slot) != place or manifest.version != int(path.stem):
                    raise Unreadable("is of another slot or version")
            except Unreadable as error:
                notes.append(f"{path} {error}: it is left out")
                continue
            found.append(manifest)
            slot = manifest.slot
        highest = max(*numbers, _highest(place), 0 if rollback is None else rollback.above)
        found.sort(key=lambda manifest: manifest.version, reverse=True)
        return SlotVersions(slot, tuple(found), highest, rollback)

    def _made(self, slot: str) -> Path:
        place = self._place(slot)
        if not place.is_dir():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # its own mode, no default
            place.mkdir(mode=0o700)
            sync_folder(place.parent)
            sync_folder(self._folder)
        return place

    def _prune(self, place: Path) -> None:
        versions = self._versions(place, [])
        wanted = {
            found.version for found in (*versions.versions[: self._keep], *versions.serving[:2])
        }
        for found in versions.versions:
            if found.version not in wanted:
                for suffix in (".json", ".model"):  # in this order: no manifest without its bytes
                    (place / f"{found.version:06}{suffix}").unlink(missing_ok=True)

    def _sign(self, manifest: Manifest) -> str:
        return hmac.digest(self._key, msgspec.json.encode(manifest), "sha256").hex()

    def _place(self, slot: str) -> Path:
        return self._folder / MODELS / folder_name(slot)


def folder_name(slot: str) -> str:
    """Return the name of a slot's folder: its own, made fit to be one."""
    name = quote(slot, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > NAME_BYTES or not name:
        return f"{name[:NAME_BYTES]}%{hashlib.sha256(slot.encode()).hexdigest()[:16]}"
    return name


def read_checked(path: Path, manifest: Manifest) -> Encoded:
    """Read the bytes that a manifest speaks of.

    Raises:
        Unreadable: they are not those.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    if len(data) != manifest.size:
        raise Unreadable(f"has {len(data)} bytes, not {manifest.size}: it was cut or replaced")
    if hashlib.sha256(data).hexdigest() != manifest.sum:
        raise Unreadable("is damaged: its checksum differs")
    try:
        return msgspec.msgpack.decode(data, type=Encoded)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"was written by another version of Tidegate: {error}") from None


def _highest(place: Path) -> int:
    """Return the highest number that was given to a version that is not stored."""
    try:
        return max(0, int((place / HIGHEST).read_text("ascii")))
    except (OSError, ValueError):  # there was none; or it is damaged, and what is stored counts
        return 0


def _rollback(place: Path, notes: list[str]) -> Rollback | None:
    path = place / ROLLBACK
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rollback)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, RecursionError):
        notes.append(f"{path} is damaged: the newest version serves")
        return None
