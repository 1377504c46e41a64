"""One crash as one zip to send: the case, what happened to it, the machine, and the command that repeats it; scrubbed.

The zip opens with ``harness case unpack`` or any unzip. The same run and the same machine's doctor give the same bytes.
"""

from __future__ import annotations

import dataclasses
import io
import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.case import Case, CaseDocument, is_valid_id
from harness.casefile import DOCUMENT, TENSORS, read_case, write_case
from harness.casepack import BESIDE, MAX_ARCHIVE_BYTES, add
from harness.diagnosis.documents import DOCTOR
from harness.diagnosis.ofrun import oracles_of, recordings_of
from harness.doctor import Asker, Machine, examine
from harness.errors import HarnessError, UsageError
from harness.forms.pick import Picked, of_case, pick, sweeps_of_case
from harness.forms.readme import Contents, Repeat, readme
from harness.forms.scrub import Scrubber
from harness.isolation import Limits, default_memory
from harness.jsonfile import dumps, sync_folder, write_json
from harness.outcome import RECORDED, Outcome
from harness.registry import TRACKER
from harness.run import OUTCOMES, RECORDINGS, RUN_FILE, SWEEPS, YARDSTICKS, Run, read_object

MINIMIZED = "minimize.json"
"""What ``harness minimize`` leaves beside the case it made; ``case`` is that case's folder."""
CHECKOUT = "PATH-OF-YOUR-CHECKOUT"
_DOCTOR_LIMIT_S = 30.0


@dataclass(frozen=True)
class Bundle:
    """What was written. ``taken_out`` counts what was scrubbed, by kind."""

    archive: Path
    outcome: Outcome
    repeat: Repeat
    contents: tuple[Contents, ...]
    taken_out: dict[str, int]
    other_failures: int

    def to_json(self) -> dict[str, Any]:
        return {
            "archive": str(self.archive), "bytes": self.archive.stat().st_size, "outcome": self.outcome.kind.value,
            "signature": self.outcome.signature, "repeat": {"posix": self.repeat.posix, "powershell": self.repeat.powershell},
            "contents": [dataclasses.asdict(it) for it in self.contents], "taken_out": self.taken_out,
            "other_failures": self.other_failures,
        }  # fmt: skip


def bundle(
    source: Path, archive: Path, *, case: Path | None = None, solver_file: bool = False, doctor: bool = True,
    scrubber: Scrubber | None = None,
) -> Bundle:  # fmt: skip
    """Write ``archive``, which must not exist. ``source``: a run folder (its first failure is sent) or an outcome's file.

    ``case`` is sent in place of the recorded one: a case, or the folder ``harness minimize`` wrote; ``solver_file`` sends the
    solver's FILE.py as well. The machine is examined unless the run's folder holds a ``doctor.json``, or ``doctor`` is false.
    Raises ``UsageError``, ``ResultError`` or ``CaseError``, and leaves nothing behind then.
    """
    if os.path.lexists(archive):
        raise UsageError(f"{archive}: exists already; a bundle overwrites nothing")
    scrubber = scrubber or Scrubber.of_this_process()
    picked = pick(source)
    original = read_case(_minimal(case) if case is not None else _case_folder(picked))
    machine = _doctor(picked.run.folder) if doctor else None
    with tempfile.TemporaryDirectory(prefix="harness-bundle-") as folder:
        _learn(scrubber, picked, original)
        sent = write_case(_scrubbed_case(original, scrubber), Path(folder) / _safe_id(original.id, scrubber))
        minimized = case is not None and original.path != case
        again = dataclasses.replace(picked.outcome, layout=RECORDED) if minimized else picked.outcome  # it was made in that layout
        repeat = _repeat(picked.run, again, sent.id)
        run = _write_run(Path(folder) / "run", picked, sent.id, repeat, scrubber)
        outcome = next(it for it in run if it["outcome_of_bundle"])
        del outcome["outcome_of_bundle"]
        files: list[tuple[Contents, bytes | Path]] = []

        def put(name: str, what: str, data: bytes | Path) -> None:
            files.append((Contents(name, data.stat().st_size if isinstance(data, Path) else len(data), what), data))

        put("outcome.json", "what happened, with its cause", _json(outcome))
        from harness.report.write import write_report  # pandas takes a second that --help should not

        page = write_report(Path(folder) / "run", one_file=True)
        put("report.html", "the same to read: this case with every solver that was tried", page)
        put("environment.json", "operating system, processor, GPUs, versions", _json(scrubber.document(picked.run.environment)))
        if machine is not None:
            put("doctor.json", "what of the machine keeps a solver from running", _json(scrubber.document(machine)))
        if solver_file:
            name, text = _solver_source(picked.outcome.solver)
            put(name, "the solver", scrubber.text(text).encode("utf-8", "surrogateescape"))
        put(f"{sent.id}/{DOCUMENT}", f"the case: layout, options, {'operands' if original.document.op else 'poses'}, provenance",
            _folder(sent) / DOCUMENT)  # fmt: skip
        if sent.document.generator is None:
            put(f"{sent.id}/{TENSORS}", f"its numbers, unchanged: {_numbers(sent)}", _folder(sent) / TENSORS)
        taken_out = {what: count for what, count in sorted(scrubber.found.items()) if count}
        contents = tuple(it for it, _ in files)
        words = readme(outcome, repeat, contents, taken_out, archive.name, has_solver=solver_file)
        put("README.txt", "this list, and how to repeat it", words.encode("utf-8", "backslashreplace"))
        files.insert(0, files.pop())
        _write(archive, files)
    return Bundle(archive, picked.outcome, repeat, tuple(it for it, _ in files), taken_out, picked.others)


def _case_folder(picked: Picked) -> Path:
    summary = picked.run.cases.get(picked.outcome.case, {})
    folder = Path(str(summary.get("path") or ""))
    if not (folder / DOCUMENT).is_file():
        raise UsageError(
            f"{picked.run.folder / RUN_FILE}: cases.{picked.outcome.case}.path: no case at {folder}; give it with --case"
        )
    found = read_case(folder).document
    if summary.get("sha256") not in (None, found.tensors_sha256):
        raise UsageError(f"{folder}: tensors_sha256: not the case that was run; give one with --case")
    return folder


def _minimal(folder: Path) -> Path:
    """The case itself, or the one that a minimizing left in its folder."""
    if not (folder / MINIMIZED).is_file():
        return folder
    name = read_object(folder / MINIMIZED).get("case")
    if not isinstance(name, str) or not is_valid_id(name):
        raise UsageError(f"{folder / MINIMIZED}: case: nothing smaller was found there")
    return folder / name


def _learn(scrubber: Scrubber, picked: Picked, case: Case) -> None:
    run = of_case(picked.run, picked.outcome.case)
    for document in (run.environment, run.command, *(it.to_json() for it in run.outcomes), case.document.model_dump(mode="json")):
        scrubber.learn_document(document)


def _safe_id(name: str, scrubber: Scrubber) -> str:
    safe = scrubber.text(name).replace("<", "").replace(">", "")
    return safe if is_valid_id(safe) else "case"


def _scrubbed_case(case: Case, scrubber: Scrubber) -> Case:
    """The case with nobody named in its texts. Layout, options, values and hash stay as they are."""
    document = case.document.model_dump(mode="json", by_alias=True)
    document["id"] = _safe_id(case.id, scrubber)
    provenance = scrubber.document(document["provenance"])
    document["provenance"] = provenance | {name: provenance[name][:2000] for name in ("source", "licence", "attribution")}
    document["title"] = scrubber.text(document["title"])[:300]
    document["tags"] = [scrubber.text(tag)[:60] for tag in document["tags"]]
    document["expect"]["because"] = scrubber.text(document["expect"]["because"])[:2000]
    for name, most in (("exception", 20_000), ("stack", 20_000), ("tracker", 2000)):
        document["recorded"][name] = scrubber.text(document["recorded"][name])[:most]
    for tensor in document["tensors"].values():
        tensor["alias_group"] = tensor["alias_group"] and scrubber.text(tensor["alias_group"])[:100]
    return Case(CaseDocument.model_validate_json(dumps(document)), case.values)


def _repeat(run: Run, outcome: Outcome, case_id: str) -> Repeat:
    """Made of the outcome's fields, never of its own command: that may be a stranger's."""
    limits = run.plan.get("limits")
    limits = limits if isinstance(limits, dict) else {}
    words = ["python", "-m", "harness", "replay", case_id, "--solver", _solver_word(outcome.solver)]
    for option, value, default in (
        ("--tool", outcome.tool, "none"),
        ("--memory", outcome.memory, default_memory(outcome.tool)),
        ("--layout", outcome.layout, RECORDED),
        ("--device", limits.get("device", "auto"), "auto"),
        ("--timeout", limits.get("timeout_s", Limits.timeout_s), Limits.timeout_s),
    ):
        if value != default:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return Repeat(tuple(words))


def _solver_word(name: str) -> str:
    file, _, factory = name.rpartition(":")
    if file.endswith(".py"):
        return f"{file.replace(chr(92), '/').rpartition('/')[2]}:{factory}"
    return TRACKER + CHECKOUT if name.startswith(TRACKER) else name


def _solver_source(name: str) -> tuple[str, str]:
    file, _, _ = name.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file() or not BESIDE.fullmatch(path.name):
        raise UsageError(f"--solver-file: the solver {name} is no FILE.py that is at hand")
    return path.name, path.read_text(encoding="utf-8", errors="surrogateescape")


def _write_run(folder: Path, picked: Picked, case_id: str, repeat: Repeat, scrubber: Scrubber) -> list[dict[str, Any]]:
    """A run folder of the one case, everything in it scrubbed, so that whatever is drawn from it is. Returns its outcomes."""
    run = of_case(picked.run, picked.outcome.case)

    def shown(value: Any) -> Any:
        return scrubber.document(_renamed(value, picked.outcome.case, case_id))

    (folder / OUTCOMES).mkdir(parents=True)
    (folder / YARDSTICKS).mkdir()
    header = shown(read_object(run.folder / RUN_FILE) | {"plan": run.plan, "cases": run.cases, "environment": run.environment})
    for summary in header["cases"].values():
        summary["path"] = case_id
    write_json(folder / RUN_FILE, header)
    documents = []
    for number, outcome in enumerate(run.outcomes):
        mine = outcome.key == picked.outcome.key
        again = repeat if mine else _repeat(run, outcome, case_id)
        document = shown(_renamed(outcome.to_json(), outcome.repeat, again.posix)) | {"repeat": again.posix}
        write_json(folder / OUTCOMES / f"{number:05}.json", document)
        documents.append(document | {"outcome_of_bundle": mine})
    (folder / SWEEPS).mkdir()
    for number, sweep in enumerate(sweeps_of_case(picked.run, picked.outcome.case)):
        write_json(folder / SWEEPS / f"{number:05}.json", shown(sweep))
    for oracle in _yardstick(run):
        write_json(folder / YARDSTICKS / "oracle.json", shown(oracle.to_json()))
    for recording in recordings_of(run):
        (folder / RECORDINGS).mkdir()
        write_json(folder / RECORDINGS / "recording.json", shown(recording.to_json()))
    return documents


def _yardstick(run: Run) -> Iterator[Outcome]:
    cases = {outcome.case for outcome in run.outcomes}
    asked = {outcome.key for outcome in run.outcomes}
    return (oracle for oracle in oracles_of(run) if oracle.case in cases and oracle.key not in asked)


def _renamed(value: Any, old: str, new: str) -> Any:
    if old == new:
        return value
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {_renamed(key, old, new): _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_renamed(item, old, new) for item in value]
    return value


def _doctor(folder: Path) -> dict[str, Any]:
    """What the doctor says, asked once and kept with the run: a second bundle says the same, and a diagnosis may use it."""
    file = folder / DOCTOR
    if not file.exists():
        with closing(Asker(_DOCTOR_LIMIT_S)) as asker:
            checks = examine(Machine(reports=folder), asker)
        write_json(file, {"checks": [check.to_json() for check in checks]})
    return read_object(file)


def _numbers(case: Case) -> str:
    document = case.document
    return f"{document.n_points} points, poses and weights" if document.op is None else f"the operands of {document.op.name}"


def _folder(case: Case) -> Path:
    assert case.path is not None
    return case.path


def _json(document: Any) -> bytes:
    return (dumps(document) + "\n").encode("utf-8", "backslashreplace")


def _write(archive: Path, files: list[tuple[Contents, bytes | Path]]) -> None:
    temporary = archive.with_name(f".{archive.name}.{secrets.token_hex(4)}.tmp")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", allowZip64=False) as packed:
                for it, data in files:
                    with _opened(data) as source:
                        add(packed, source, it.bytes, it.name)
            file.flush()
            os.fsync(file.fileno())
        if temporary.stat().st_size > MAX_ARCHIVE_BYTES:
            raise zipfile.LargeZipFile
        os.rename(temporary, archive)  # noqa: PTH104  on Windows it refuses a file that came meanwhile
        sync_folder(archive.parent)
    except zipfile.LargeZipFile:
        raise UsageError(f"{archive}: would have more than {MAX_ARCHIVE_BYTES} bytes; minimize the case first") from None
    except OSError as error:
        raise HarnessError(f"{archive}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(data: bytes | Path) -> Iterator[Any]:
    if isinstance(data, bytes):
        yield io.BytesIO(data)
    else:
        with data.open("rb") as file:
            yield file
