"""The wheel holds our packages and nothing else, and works away from the checkout."""

import subprocess
import tomllib
from email.parser import Parser
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from tests.image import ROOT, Image, built

pytestmark = pytest.mark.timeout(240)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGES = ["feeds", "runtime", "strategies"]


@pytest.fixture(scope="module")
def image() -> Image:
    made = built()
    assert isinstance(made, Image), made
    return made


def test_wheel_holds_exactly_the_packages(image: Image) -> None:
    names = ZipFile(image.wheel).namelist()
    info = f"tidegate-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, info}
    assert {"feeds/py.typed", "runtime/py.typed"} <= set(names)
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources


def test_wheel_names_its_needs(image: Image) -> None:
    with ZipFile(image.wheel) as wheel:
        (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        told = Parser().parsestr(wheel.read(metadata).decode())
    needs = [Requirement(line) for line in told.get_all("Requires-Dist", [])]
    assert {str(need) for need in needs if need.marker is None} == set(PROJECT["dependencies"])
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert set(told.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


def test_installed_packages_agree_with_each_other(image: Image) -> None:
    checked = image.run("python", "-m", "pip", "check")
    assert checked.returncode == 0, checked.stdout


def test_import_comes_from_the_installed_wheel(image: Image) -> None:
    code = (
        "import feeds, runtime, strategies\nfor m in feeds, runtime, strategies: print(m.__file__)"
    )
    places = image.run("python", "-c", code).stdout.split()
    assert len(places) == 3
    assert all(place.startswith(str(image.environment)) for place in places)


def test_command_tells_version_and_help(image: Image) -> None:
    version = image.run("tidegate", "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert PROJECT["version"] in version.stdout
    helped = image.run("tidegate", "--help")
    assert helped.returncode == 0
    assert "demo" in helped.stdout


def test_demo_trades_away_from_the_checkout(image: Image) -> None:
    ran = image.run("tidegate", "demo", "--duration", "3")
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert "Traceback" not in ran.stdout + ran.stderr


def test_nothing_that_git_ignores_is_shipped(image: Image) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {name for name in ZipFile(image.wheel).namelist() if ".dist-info/" not in name}
    assert names - set(listed.stdout.split()) == set()
