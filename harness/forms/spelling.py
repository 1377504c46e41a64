"""Patterns that find a name or a path in every spelling that logs have for it: escaped, URL-encoded, UTF-16 read as bytes."""

from __future__ import annotations

import re

SLASH = r"(?:\\{1,8}|/|%2f|%5c)"
"""One separator of folders: either slash, backslashes doubled by up to three rounds of escaping, or URL-encoded."""
_FORWARD = r"(?:\\{0,4}/|%2f)"
_NUL = r"(?:\x00|\\x00|\\u0000)?"  # between the letters of UTF-16 that was read byte by byte
_IN_A_NAME = r"(?:[^\s/\\:;,'\"<>|()\[\]{}=&?*%$`\x00]|%20|<user>)"
_IN_A_QUOTED_NAME = r"[^/\\\"'<>|\n\r\x00]"

_DRIVE = r"(?<![A-Za-z0-9])[A-Za-z](?::|%3a)"
_WINDOWS_NAME = rf"(?:[^/\\:*?\"'<>|\r\n\x00]{{1,64}}(?={SLASH})|{_IN_A_NAME}+)"  # a folder's may hold blanks
_SETTINGS = r"documents(?:\ |%20|\+)and(?:\ |%20|\+)settings"

HOMES = (
    re.compile(rf"(?P<base>{_DRIVE}{SLASH}(?:users|{_SETTINGS}){SLASH})(?P<name>{_WINDOWS_NAME})", re.IGNORECASE),
    re.compile(rf"(?P<base>{_FORWARD}(?:home|users){SLASH}|{SLASH}home{SLASH})(?P<name>{_IN_A_NAME}+)", re.IGNORECASE),
)
"""A home folder: ``name`` is whose."""

PATHS = re.compile(
    rf"(?<=[\"'])(?:(?:{_DRIVE}|~|\\{{1,4}}{_IN_A_NAME}+)?(?:{SLASH}(?:{_IN_A_QUOTED_NAME}|<user>)+)+)(?=\\?[\"'])"
    rf"|{_DRIVE}(?:{SLASH}{_WINDOWS_NAME})+"
    rf"|(?<![\w\\])\\{{2,8}}(?:{_IN_A_NAME}|\$)+(?:\\{{1,4}}{_IN_A_NAME}+)+"
    rf"|(?:(?<![\w.%/\\>)\]~-])|(?<=[\s\"']-\w)|(?<=^-\w))(?:file:{_FORWARD}{{2}}|~)?(?:{_FORWARD}{_IN_A_NAME}+){{2,}}",
    re.IGNORECASE,
)
"""An absolute path: between quotes, where it may hold blanks; a drive's; a share's; below the root or below ``~``."""


def spelled(name: str) -> str:
    """A pattern, for ``re.IGNORECASE``, of a name, path or secret in every spelling."""
    return _NUL.join(_character(c) for c in name)


def word(name: str) -> re.Pattern[str]:
    """The name where it is a word of its own, underscores and hex escapes beside it being no part of a word."""
    return re.compile(rf"(?<![A-Za-z0-9]){spelled(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def _character(c: str) -> str:
    if c in "/\\":
        return SLASH
    forms = [re.escape(c) if c.isalnum() else rf"\\{{0,7}}{re.escape(c)}"]
    if not (c.isascii() and c.isalnum()):
        data = c.encode("utf-8", "surrogatepass")
        forms += ["".join(f"%{byte:02x}" for byte in data), "".join(rf"\\x{byte:02x}" for byte in data)]
        forms += [rf"\\u{unit:04x}" for unit in (ord(c),) if unit < 0x10000] + ([rf"\\x{ord(c):02x}"] if ord(c) < 0x100 else [])
    if c == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})" if len(forms) > 1 else forms[0]
