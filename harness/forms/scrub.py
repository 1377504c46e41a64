"""Who made a run, where and with which keys is nobody's business: taken out of every text that leaves the machine in a bundle."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from harness.case import CaseDocument
from harness.doctor.privacy import Identity, telling
from harness.forms.spelling import HOMES, PATHS, SLASH, spelled, word
from harness.outcome import BUILDING, MEMORY_MODES, STAGES, Diagnosis, Exit, Kind, Outcome
from harness.registry import ADAPTERS, BUILTIN
from harness.sanitizer.tools import TOOLS

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS(?!ED)|PWD$|CREDENTIAL|AUTH|COOKIE|SESSION_ID|_PAT$|DSN|WEBHOOK", re.IGNORECASE)
_SHORTEST_SECRET = 6
_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|AKIA|ASIA|npm_|pypi-)[A-Za-z0-9_\-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"
    r"|(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"
    r"|(?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
)
_SECRET_WORD = "(?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|passphrase|credentials?|authorization|cookie)"
_NAMED = rf"(?<![\w-])[\w-]{{0,60}}{_SECRET_WORD}[\w-]{{0,60}}"
_VALUE = r"(?P<value>[^\s\"'\\,;&<>]{4,})"
_ASSIGNED = (
    re.compile(rf"(?P<name>{_NAMED})(?P<sign>[\\\"']{{0,4}}\s*(?:=|:|%3d)\s*[\\\"']{{0,4}}){_VALUE}", re.IGNORECASE),
    re.compile(rf"(?P<name>(?=--){_NAMED})(?P<sign>\s+){_VALUE}", re.IGNORECASE),
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63})+")
_MAC = re.compile(r"(?<![0-9A-Fa-f:-])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:-])")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{6,39}(?:%\w{1,15})?(?![\w:])")
_UUID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
_PUBLIC = ("127.0.0.1", "0.0.0.0")

_SYSTEM = re.compile(
    r"(?:file://)?(?:/(?:usr|lib|lib32|lib64|libx32|bin|sbin|etc|proc|sys|dev)/|[a-z]:/(?:windows|program))", re.IGNORECASE
)
_FILE = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_PACKAGES = ("site-packages", "dist-packages")
_OURS = ("harness", "sim3solve", "mast3r_slam", "lietorch", "pypose", "torch", "cases", "tests")
_TYPES = (Outcome, Exit, Diagnosis)
# Words of this project's own documents: a user of that name stays unknown among them.
_VOCABULARY = frozenset(
    {field.name for kind in _TYPES for field in dataclasses.fields(kind)}
    | set(CaseDocument.model_fields) | set(TOOLS) | set(MEMORY_MODES) | {BUILDING, *STAGES} | set(BUILTIN) | set(ADAPTERS)
    | {kind.value.lower() for kind in Kind} | {"case", "harness", "sim3solve", "replay", "outcome", "path", "none"}
)  # fmt: skip


class Scrubber:
    """Takes out names, paths, addresses and secrets. ``found`` counts what was taken out, by kind; it never says what it was."""

    def __init__(self, identity: Identity, environ: Mapping[str, str]) -> None:
        values = {value for name, value in environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET}
        self.found: Counter[str] = Counter()
        secrets = [value for value in values if not value.isdigit() and not os.path.lexists(value)]
        self._secrets = _any(spelled(value) for value in sorted(secrets, key=len, reverse=True))
        self._homes = _any(spelled(home) + r"(?![A-Za-z0-9])" for home in identity.homes)
        self._users: dict[str, re.Pattern[str]] = {}
        self._hosts = {name: word(name) for name in _private(identity.hosts)}
        self._know(identity.users)

    @staticmethod
    def of_this_process() -> Scrubber:
        return Scrubber(Identity.of_this_process(os.environ), os.environ)

    def learn(self, text: str) -> None:
        """Take whoever's home folder the text names for a user: a run may be of another machine."""
        self._know({found["name"] for pattern in HOMES for found in pattern.finditer(text)} - {"<user>"})

    def text(self, text: str) -> str:
        """The text without them. What is learned from a text counts for those after it as well."""
        self.learn(text)
        if self._secrets is not None:
            text = self._sub("secret", self._secrets, "<secret>", text)
        text = self._sub("secret", _SECRETS, "<secret>", text)
        for pattern in _ASSIGNED:
            text = self._sub("secret", pattern, r"\g<name>\g<sign><secret>", text)
        text = self._sub("e-mail address", _EMAIL, "<email>", text)
        text = self._paths(text)
        if self._homes is not None:
            text = self._sub("home folder", self._homes, "~", text)
        for pattern in HOMES:
            text = self._sub("home folder", pattern, r"\g<base><user>", text)
        for what, names in (("user name", self._users), ("host name", self._hosts)):
            for pattern in names.values():
                text = self._sub(what, pattern, f"<{what.partition(' ')[0]}>", text)
        for what, pattern, shown in (("MAC address", _MAC, "<mac>"), ("UUID", _UUID, "<uuid>")):
            text = self._sub(what, pattern, shown, text)
        return self._addresses(text)

    def document(self, value: Any) -> Any:
        """A JSON document with every text in it scrubbed, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.document(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(item) for item in value]
        return value

    def learn_document(self, value: Any) -> None:
        for text in _texts(value):
            self.learn(text)

    def _know(self, names: Any) -> None:
        whole = {name.replace("%20", " ") for name in names}
        parts = {part for name in whole for part in name.split()}
        for name in _private(telling(whole | parts)):
            self._users.setdefault(name, word(name))

    def _sub(self, what: str, pattern: re.Pattern[str], shown: str, text: str) -> str:
        text, count = pattern.subn(shown, text)
        self.found[what] += count
        return text

    def _paths(self, text: str) -> str:
        def shown(found: re.Match[str]) -> str:
            plain = re.sub(SLASH, "/", found[0], flags=re.IGNORECASE)
            plain = re.sub("/{2,}", "/", plain.replace("file:///", "/"))
            if _SYSTEM.match(plain):
                return found[0]
            self.found["path"] += 1
            return "/".join(["<path>", *_tail(plain)])

        return PATHS.sub(shown, text)

    def _addresses(self, text: str) -> str:
        def shown(found: re.Match[str]) -> str:
            if not _is_address(found[0]):
                return found[0]
            self.found["IP address"] += 1
            return "<ip>"

        return _IPV6.sub(shown, _IPV4.sub(shown, text))


def _any(patterns: Iterator[str] | Any) -> re.Pattern[str] | None:
    joined = "|".join(patterns)
    return re.compile(joined, re.IGNORECASE) if joined else None


def _private(names: Any) -> list[str]:
    return [name for name in names if name.lower() not in _VOCABULARY]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _tail(path: str) -> list[str]:
    """What of a path tells which file it is and nothing of anybody: from a package on, else the last name if it is a file's."""
    names = [name for name in path.split("/") if name]
    for known, last in ((_PACKAGES, False), (_OURS, True)):
        places = [i for i, name in enumerate(names[:-1]) if name in known]
        if places:
            return names[places[-1] if last else places[0] :]
    return [name for name in names[-1:] if _FILE.search(name)]


def _is_address(text: str) -> bool:
    """Not a clock's time, and no ``a::b`` of C++."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if address.version == 4:
        return text not in _PUBLIC
    return len([group for group in text.split(":") if group]) > 2 or text.lower().startswith(("fe80", "fc", "fd"))
