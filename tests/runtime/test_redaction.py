"""Secrets are searched for in every byte that is written, also in their encoded forms."""

import base64
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from runtime import redaction
from runtime.control import logs, sinks
from runtime.control.logs import open_log
from runtime.redaction import MASK, Redactor, forms, names_secret
from runtime.settings import LogSettings

SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=8, max_size=40
).filter(lambda text: text == text.strip() and len(text.splitlines()) == 1 and "*" not in text)
ENCODERS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "repr": repr,
    "of bytes": lambda text: repr(text.encode()),
    "json": json.dumps,
    "json, any letter": lambda text: json.dumps(text, ensure_ascii=False),
    "json twice": lambda text: json.dumps(json.dumps(text)),
    "json of repr": lambda text: json.dumps(repr(text)),
    "url": lambda text: quote(text, safe=""),
    "url, lower": lambda text: redaction._lower_percents(quote(text, safe="")),
    "path": quote,
    "form": quote_plus,
    "html": html.escape,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"me:{text}".encode()).decode(),
    "basic, longer": lambda text: base64.b64encode(f"mee:{text}:and more".encode()).decode(),
}
ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")


def unescaped(found: re.Match[str]) -> str:
    number = found[1] or found[2] or found[3]
    return chr(min(int(number, 16), 0x10FFFF)) if number else str(found[4])


DECODERS: list[Callable[[str], str]] = [
    str,
    unquote,
    unquote_plus,
    html.unescape,
    lambda text: ESCAPED.sub(unescaped, text),
]


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS.keys())
@given(secret=SECRETS, before=st.text(max_size=5), after=st.text(max_size=5))
@example(secret="swordfish", before="", after="")
@example(secret="a\"b'c\\d\u2028<&>%+/ é", before="'", after='"')
def test_it_is_hidden_in_every_form(
    encode: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    known = Redactor()
    known.learn(secret)
    shown = known.hide(f"{before}{encode(secret)}{after}")
    assert MASK in shown
    for decode in DECODERS:
        assert secret not in decode(shown)
    for form in forms(secret):
        assert form not in shown


@given(st.lists(SECRETS, max_size=5), st.text(max_size=200))
def test_what_holds_no_secret_stays_as_it_is(secrets: list[str], text: str) -> None:
    known = Redactor()
    known.learn(*secrets)
    if not any(form in text for secret in secrets for form in forms(secret)):
        assert known.hide(text) == text
        assert known.hide_bytes(text.encode()) == text.encode()


def test_a_longer_secret_that_holds_a_shorter_one_leaves_no_rest() -> None:
    known = Redactor()
    known.learn("swordfish", "swordfish-and-more")
    assert known.hide("<swordfish-and-more>") == f"<{MASK}>"


def test_a_secret_across_the_cut_is_hidden() -> None:
    known = Redactor()
    known.learn("swordfish-0042")
    for place in range(90, 104):
        shown = known.hide_cut("x" * place + "swordfish-0042" + "y" * 100, 100)
        assert "sword" not in shown
        assert len(shown) <= 100
    assert known.hide_cut("swordfish-0042", 100) == MASK


def test_the_lines_of_a_key_file_are_hidden_each() -> None:
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEF"
    key = f"-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n"
    known = Redactor()
    known.learn(key)
    assert known.hide(f"<{line}>") == f"<{MASK}>"
    assert known.hide("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_the_environment_and_addresses_tell_what_is_secret() -> None:
    known = Redactor()
    known.learn_environment(
        {
            "APCA_API_SECRET_KEY": "swordfish-1",
            "MY_PASSWORD": "swordfish-2",
            "HTTPS_PROXY": "http://me:sword%20fish-3@proxy:8080",
            "FEED": "wss://venue/ws?token=swordfish-4&symbol=SPY",
            "PWD": "/home/somebody",
            "SHORT_TOKEN": "short",
            "BROKEN": "http://[",
            "HOME": "/home/somebody",
        }
    )
    said = (
        "swordfish-1 swordfish-2 sword fish-3 sword%20fish-3 swordfish-4 SPY short /home/somebody"
    )
    assert known.hide(said) == f"{MASK} {MASK} {MASK} {MASK} {MASK} SPY short /home/somebody"


@pytest.mark.parametrize("name", ["APCA_API_KEY_ID", "db-password", "GH_PAT", "X_API_TOKEN"])
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["PATH", "PWD", "HOME", "MONKEY", "AUTHOR", "PATTERN"])
def test_other_names(name: str) -> None:
    assert not names_secret(name)


# ---- in what the log writes ------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    known = Redactor()
    for module in (logs, sinks):
        monkeypatch.setattr(module, "KNOWN", known)
    return known


class Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"Shown({self.text})"

    __repr__ = __str__


PLACES: list[Callable[[Any, str], object]] = [
    lambda log, text: log.info(text),
    lambda log, text: log.info("x", value=text),
    lambda log, text: log.bind(job=text).warning("x"),
    lambda log, text: log.info("x", value=[{"a": (text, 1)}]),
    lambda log, text: log.info("x", value={text: 1}),
    lambda log, text: log.info("x", value=text.encode()),
    lambda log, text: log.info("x", value=Shown(text)),
    lambda log, text: log.info("x", value=[Shown(text)]),
    lambda log, text: log.info("x", value=ValueError(text)),
    lambda log, text: log.error("x", exc_info=ValueError(text)),
    lambda log, text: log.info("x", traceback=f"Traceback\n  ValueError: {text}\n"),
    lambda log, text: log.info("x", value=[text] * 2000),
    lambda log, text: log.info("x", value=[Shown(text)] * 2000),
    lambda log, text: log.info("x", value=[text.encode()] * 2000),
    lambda log, text: log.info("x", value="y" * (logs.VALUE_CHARS - 4) + text),
]


def lines_of(
    place: Callable[[Any, str], object], style: Any, text: str, known: Redactor
) -> tuple[str, str]:
    """What is written of a line, and what is shown of it."""
    stream, tapped = io.StringIO(), list[tuple[object, ...]]()
    with pytest.MonkeyPatch.context() as patch:
        for module in (logs, sinks):
            patch.setattr(module, "KNOWN", known)
        with open_log(LogSettings(format=style), stream, tap=lambda *line: tapped.append(line)) as (
            log,
            _,
        ):
            place(log, text)
    return stream.getvalue(), str(tapped[0][1:])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("style", ["json", "text"])
@given(secret=SECRETS, encoder=st.sampled_from(sorted(ENCODERS)))
@example(secret="swordfish-0042", encoder="as it is")
def test_no_line_shows_it_wherever_it_stands(
    place: Callable[[Any, str], object], style: Any, secret: str, encoder: str
) -> None:
    known = Redactor()
    known.learn(secret)
    written, tapped = lines_of(place, style, ENCODERS[encoder](secret), known)
    # What a line says by itself, such as its time or "traceback", is no secret told.
    own = " ".join(lines_of(place, style, "?", Redactor()))
    assume(not any(secret in decode(own) for decode in DECODERS))
    for text in (written, tapped if "{" not in secret else ""):
        for decode in DECODERS:
            assert secret not in decode(text)
        assert not [form for form in forms(secret) if form in text]
    if style == "json":
        assert secret not in str(json.loads(written))


def test_a_file_has_none_either(tmp_path: Path, known: Redactor) -> None:
    known.learn("swordfish-0042")
    file = tmp_path / "run.log"
    with open_log(LogSettings(file=str(file)), io.StringIO()) as (log, _):
        log.warning("login", text="key swordfish-0042 refused", quoted=quote("swordfish-0042"))
    assert json.loads(file.read_text())["text"] == f"key {MASK} refused"
