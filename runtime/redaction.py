"""What is secret never leaves: known values are hidden in every text that is written anywhere.

A value is learned once, from the environment, an address or a file, and hidden from then on as it
is and in every form that it takes on its way: escaped, quoted for a URL or a page, in hexadecimal,
in base64 wherever it stands inside a longer one. No part of it is shown. A value of fewer than 8
characters is not hidden: it would be found in every line.
"""

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

MASK = "***"
SHORTEST = 8
SHORTEST_PART = 16
"""Of a line of a secret of several lines, and of a form that is only a part of the secret."""
WORDS = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "APIKEY", "PRIVATE")
PARTS = frozenset({"KEY", "KEYS", "AUTH", "PAT", "PW", "PWD", "PASS"})
NO_SECRETS = frozenset({"PWD", "OLDPWD"})


def names_secret(name: str) -> bool:
    """Say whether a variable or parameter of this name holds a secret, as names go."""
    name = name.upper().replace("-", "_")
    return name not in NO_SECRETS and (
        any(word in name for word in WORDS) or not PARTS.isdisjoint(name.split("_"))
    )


class Redactor:
    """Knows secrets and hides them; from any thread."""

    def __init__(self) -> None:
        self._forms: tuple[str, ...] = ()
        self.longest = 0

    def learn(self, *secrets: str) -> None:
        """Hide these values from now on."""
        found = {*self._forms, *(form for secret in secrets for form in _forms_of_all(secret))}
        # The longest first: a shorter one may be a part of it. One write, so readers need no lock.
        self._forms = tuple(sorted(found, key=lambda form: (-len(form), form)))
        self.longest = max(map(len, self._forms), default=0)

    def learn_environment(self, environment: Mapping[str, str]) -> None:
        """Hide what the environment's names say is secret, and what its addresses hold."""
        for name, value in environment.items():
            if names_secret(name):
                self.learn(value)
            self.learn_address(value)

    def learn_address(self, text: str | None) -> None:
        """Hide the password of a URL, and the values of its parameters that are secret by name."""
        if text is None or "://" not in text:
            return
        try:
            address = urlsplit(text)
            password = address.password or ""
        except ValueError:
            return
        self.learn(password, unquote(password))
        self.learn(*(value for name, value in parse_qsl(address.query) if names_secret(name)))

    def hide(self, text: str) -> str:
        """Return the text without any secret."""
        if len(text) < SHORTEST:
            return text
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def hide_bytes(self, content: bytes) -> bytes:
        """Return UTF-8 text, as bytes, without any secret."""
        if not self._forms:
            return content
        return self.hide(content.decode("utf-8", "surrogateescape")).encode(
            "utf-8", "surrogateescape"
        )

    def hide_cut(self, text: str, most: int) -> str:
        """Return the first `most` characters without any secret, also without a part of one."""
        return self.hide(text[: most + self.longest])[:most]


KNOWN = Redactor()
"""The secrets of this process: whoever writes something asks this one."""


def forms(secret: str) -> set[str]:
    """Return how a secret may look in what is written."""
    content = secret.encode("utf-8", "surrogateescape")
    quoted = quote(secret, safe="", errors="surrogateescape")
    escaped = {
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(content)[2:-1],
    }
    found = {
        secret,
        *escaped,
        *(json.dumps(text)[1:-1] for text in escaped),  # what is quoted is quoted again in a line
        quoted,
        _lower_percents(quoted),
        quote(secret, safe="/", errors="surrogateescape"),
        quote_plus(secret, errors="surrogateescape"),
        "".join(f"%{byte:02X}" for byte in content),
        html.escape(secret),
        content.hex(),
        content.hex().upper(),
    }
    found.update(_base64_forms(content))
    return {form for form in found if len(form) >= SHORTEST}


def _forms_of_all(secret: str) -> Iterator[str]:
    """Yield the forms of a secret, and of the long lines of one that has several."""
    secret = secret.strip()
    if len(secret) >= SHORTEST:
        yield from forms(secret)
    lines = secret.splitlines()
    if len(lines) > 1:
        for line in lines:
            if len(line) >= SHORTEST_PART and not line.startswith("-----"):
                yield from forms(line)


def _base64_forms(content: bytes) -> Iterable[str]:
    """Yield what base64 makes of it after 0, 1 or 2 other bytes: the characters it alone decides.

    Its last character may depend on what follows, and its first on what stands before.
    """
    for before in range(3):
        text = base64.b64encode(bytes(before) + content).decode()
        own = text[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        yield own
        yield own.replace("+", "-").replace("/", "_")


def _lower_percents(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])
