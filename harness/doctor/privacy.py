"""Who runs this and on which host is nobody's business: both are taken out of every line before it is shown or written."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass

_USER_VARIABLES = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
_HOST_VARIABLES = ("HOSTNAME", "COMPUTERNAME", "USERDOMAIN", "HOST")
# Names that tell nothing about anybody, and that stand in other places of the text.
_GENERIC = frozenset(
    (
        "root", "user", "users", "admin", "administrator", "runner", "ubuntu", "debian", "nobody", "docker", "localhost",
        "localdomain", "workgroup", "linux", "windows", "python", "torch", "cuda", "nvidia", "home", "build", "builder",
    )
)  # fmt: skip
_HOMES = re.compile(r"(?P<base>(?:^|(?<=[^\w.-]))(?:/home/|/Users/|[A-Za-z]:[\\/]+Users[\\/]+))[^\\/\s:;'\"]+")


@dataclass(frozen=True)
class Identity:
    """What must not be shown: home folders, and the names of the user and the host."""

    homes: tuple[str, ...]
    users: tuple[str, ...]
    hosts: tuple[str, ...]

    @staticmethod
    def of_this_process(environ: Mapping[str, str]) -> Identity:
        homes = {os.path.expanduser("~"), environ.get("HOME", ""), environ.get("USERPROFILE", "")}  # noqa: PTH111  never raises
        users = {environ.get(name, "") for name in _USER_VARIABLES} | {_account()}
        hosts = {environ.get(name, "") for name in _HOST_VARIABLES} | {platform.node(), platform.node().partition(".")[0]}
        return Identity(
            tuple(sorted((h.rstrip("/\\") for h in homes if len(h.rstrip("/\\")) > 2), key=len, reverse=True)),
            telling(users),
            telling(hosts),
        )

    def hide(self, text: str) -> str:
        for home in self.homes:
            text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text, flags=re.IGNORECASE)
        text = _HOMES.sub(lambda found: found["base"] + "<user>", text)
        for names, shown in ((self.users, "<user>"), (self.hosts, "<host>")):
            for name in names:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", shown, text, flags=re.IGNORECASE)
        return text


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, ImportError, KeyError):  # an account without a name, as in containers
        return ""


def telling(names: set[str]) -> tuple[str, ...]:
    """The names that tell something of somebody, the longest first."""
    telling = {name for name in names if len(name) > 2 and name.lower() not in _GENERIC}
    return tuple(sorted(telling, key=len, reverse=True))
