"""The locks pin by hash all that pyproject.toml asks for, and name no place to fetch it from."""

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.image import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ["requirements.lock", "requirements-run.lock", "requirements-build.lock"]
PYTHONS = ["3.11", "3.12", "3.13"]


def entries(lock: str) -> dict[Requirement, frozenset[str]]:
    """Each requirement of a lock and its hashes."""
    text = (ROOT / lock).read_text("utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return {
        Requirement(line.partition(" --hash")[0]): frozenset(re.findall(r"--hash=(\S+)", line))
        for line in text.splitlines()
        if line.strip()
    }


def locked_versions(lock: str, python: str = "") -> dict[str, list[Version]]:
    """Canonical name -> the versions a lock has of it (on one Python, where given)."""
    found: dict[str, list[Version]] = {}
    for entry in entries(lock):
        (pin,) = entry.specifier
        if not python or applies(entry.marker, python):
            found.setdefault(canonicalize_name(entry.name), []).append(Version(pin.version))
    return found


def applies(marker: Marker | None, python: str) -> bool:
    """Whether a marker holds on this Python (of this machine)."""
    return marker is None or marker.evaluate(
        {"python_version": python, "python_full_version": f"{python}.0"}
    )


def needs() -> Iterator[Requirement]:
    """What pyproject.toml asks for: dependencies, all extras, and the tools."""
    for line in [*PYPROJECT["project"]["dependencies"], *group("dev")]:
        yield Requirement(line)
    for lines in PYPROJECT["project"]["optional-dependencies"].values():
        yield from map(Requirement, lines)


def group(*names: str) -> Iterator[str]:
    """The lines of dependency groups, included groups and all."""
    for name in names:
        for line in PYPROJECT["dependency-groups"][name]:
            if isinstance(line, str):
                yield line
            else:
                yield from group(line["include-group"])


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_one_version_with_hashes(lock: str) -> None:
    found = entries(lock)
    assert found
    for entry, hashes in found.items():
        assert [pin.operator for pin in entry.specifier] == ["=="], entry
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    assert not re.search(
        r"://|--(index|extra-index|find-links|trusted)|^-|/\w+/", text, re.MULTILINE
    )


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_covers_what_is_asked_for(python: str) -> None:
    """Each need is locked once per Python, at a version its bound allows."""
    locked = locked_versions("requirements.lock", python)
    assert all(len(versions) == 1 for versions in locked.values())
    for need in needs():
        (version,) = locked[canonicalize_name(need.name)]
        assert need.specifier.contains(version), f"{need} is locked at {version}"


def test_every_need_has_a_lower_bound() -> None:
    for need in needs():
        assert [bound.operator for bound in need.specifier] == [">="], need


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_smaller_lock_is_a_part_of_the_whole(lock: str) -> None:
    whole = {(str(entry), hashes) for entry, hashes in entries("requirements.lock").items()}
    assert {(str(entry), hashes) for entry, hashes in entries(lock).items()} <= whole


def test_smaller_locks_hold_what_they_are_for() -> None:
    project = PYPROJECT["project"]
    run = [*project["dependencies"], *project["optional-dependencies"]["examples"]]
    for lock, lines in [
        ("requirements-run.lock", run),
        ("requirements-build.lock", group("build")),
    ]:
        wanted = {canonicalize_name(Requirement(line).name) for line in lines}
        assert wanted <= set(locked_versions(lock))
    assert "pytest" not in locked_versions("requirements-run.lock")


def test_python_versions_are_the_classified_ones() -> None:
    lines = PYPROJECT["project"]["classifiers"]
    assert [line.rpartition(" ")[2] for line in lines if "Python :: 3." in line] == PYTHONS
