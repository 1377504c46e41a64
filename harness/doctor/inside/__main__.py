"""``python -m harness.doctor.inside QUESTION LIMIT_S [WORDS]``: one answer, one JSON object on stdout.

Whatever the code that is looked at prints goes to stderr. When the limit is over this process ends by itself, with the stacks of
all threads on stderr: that also holds when whoever asked is gone, and while foreign code holds the interpreter's lock.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys

QUESTIONS = {
    "torch": "torch_build:torch_build",
    "driver": "driver:driver",
    "modules": "modules:modules",
    "import": "modules:import_one",
    "audit": "modules:audit_one",
    "disk": "disk:disk",
    "native": "solve:native",
    "solve": "solve:solve",
    "compute-sanitizer": "sanitizers:compute_sanitizer",
    "host-sanitizer": "sanitizers:host_sanitizer",
}


def main() -> None:
    question, limit_s, words = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    answers = os.dup(1)
    os.dup2(2, 1)
    faulthandler.enable()
    faulthandler.dump_traceback_later(limit_s, exit=True)
    module, _, function = QUESTIONS[question].partition(":")
    try:
        answer = getattr(importlib.import_module(f"harness.doctor.inside.{module}"), function)(*words)
    except BaseException as error:  # noqa: BLE001  the top of a child: whatever foreign code raises is the answer
        answer = {"error": f"{type(error).__name__}: {_text(error)}"[:5000]}
    with os.fdopen(answers, "w", encoding="utf-8") as out:
        out.write(json.dumps(answer))
    sys.stderr.flush()
    os._exit(0)  # foreign code that was loaded may crash or hang while it is taken down, which says nothing about the answer


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  it is foreign code's exception
        return "an exception that cannot be printed"


if __name__ == "__main__":
    main()
