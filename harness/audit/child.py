"""The child that reads the files: ``python -m harness.audit.child``. The request comes on stdin as JSON; stdout gets JSON lines.

``{"reading": file}`` before each file, then one ``{"document": ...}`` or ``{"error": {"file", "field", "reason"}}``. It executes
nothing of what it reads, but its readers are native code and the files may be anybody's: it may die, and the parent does not.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from harness.audit.audit import Request, audit
from harness.errors import AuditError, FileFieldError
from harness.jsonfile import dumps

_MEMORY_BYTES = 8 << 30


def main() -> int:
    _limit_memory()
    given = json.load(sys.stdin)
    request = Request(tuple(given["files"]), given["gpu"], given["torch"])
    current = request.files[0] if request.files else ""

    def started(file: str) -> None:
        nonlocal current
        current = file
        _say({"reading": file})

    try:
        _say({"document": audit(request, started)})
    except FileFieldError as error:
        _say({"error": {"file": error.file, "field": error.field, "reason": error.reason}})
    except MemoryError:
        _say({"error": {"file": current, "field": "size", "reason": f"takes over {_MEMORY_BYTES >> 30} GiB of memory to read"}})
    except Exception as error:  # noqa: BLE001  the top of a child: a stranger's file must not end in a traceback
        unknown = AuditError(current, "content", f"cannot be understood ({type(error).__name__}: {str(error)[:200]})")
        _say({"error": {"file": unknown.file, "field": unknown.field, "reason": unknown.reason}})
    return 0


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(dumps(line, indent=None).encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main())
