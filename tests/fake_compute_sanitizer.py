"""Stands in for compute-sanitizer where there is no GPU: plays back what the real one wrote (recordings/), to prove the wiring.

``FAKE_RECORDING`` is the folder of a recording; ``FAKE_RUN=1`` runs the child for real before;
``FAKE_DEATH`` is a signal to die of at the end; ``FAKE_UNLISTED`` another recording, for a start without a list of launches.
What it was started with is left in ``started.json`` beside the records.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OF_THE_CHILD = ("result.json", "journal.jsonl", "faulthandler", "stdout", "stderr", "sanitizer.json")


def main() -> int:
    recording = Path(os.environ["FAKE_RECORDING"])
    about = json.loads((recording.parent / "about.json").read_text())
    if sys.argv[1:] == ["--version"]:
        print(f"NVIDIA (R) Compute Sanitizer\nVersion {about['version']} (build 1) (public-release)")
        return 0
    if sys.argv[1:] == ["--help"]:
        print("\n".join(f"  --{name} arg   what it does" for name in about["options"]))
        return 0
    words = sys.argv[1:]
    if "--dump-kernel-launches" not in words:
        recording = Path(os.environ.get("FAKE_UNLISTED", recording))
    records, log = (Path(words[words.index(name) + 1]) for name in ("--save", "--log-file"))
    program = words[words.index(sys.executable) :] if sys.executable in words else []
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PYTORCH_", "HARNESS_", "LD_"))}
    (records.parent / "started.json").write_text(json.dumps({"argv": words, "program": program, "environment": kept}))
    if os.environ.get("FAKE_RUN") == "1":
        subprocess.run(program, check=False)
    else:
        for name in OF_THE_CHILD:
            if (recording / name).exists():
                shutil.copyfile(recording / name, records.parent / name)
        as_the_worker_does(records.parent)
    for name, to in (("sanitizer.xml", records), ("sanitizer.txt", log)):
        if (recording / name).exists():
            shutil.copyfile(recording / name, to)
    if os.environ.get("FAKE_DEATH"):
        os.kill(os.getpid(), int(os.environ["FAKE_DEATH"]))
    ended = json.loads((recording / "ended.json").read_text())
    if ended["timed_out"]:
        time.sleep(600)
    return ended["code"]


def as_the_worker_does(folder: Path) -> None:
    """What recordings/target.py leaves, in the words of the harness's own child: target.py is not a solver and has no journal."""
    if (folder / "journal.jsonl").exists() or not (folder / "faulthandler").exists():
        return
    stages = [{"stage": stage, "time": time.time()} for stage in ("spawned", "imported")]
    (folder / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in stages))
    if (folder / "result.json").exists():
        launched = json.loads((folder / "result.json").read_text())["launched"]
        (folder / "sanitizer.json").write_text(json.dumps({"launched": launched}))
        result = {"op_value": [[0.0]], "solve_seconds": 0.0, "device": "cuda:0", "judged": True}
        (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
