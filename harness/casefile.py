"""Cases on disk: a folder of ``case.json`` and ``tensors.safetensors``. A stranger's case is safe to open.

Nothing in a case is executed; links and special files are refused; every size is bounded before memory is taken; dtypes,
shapes and hashes are checked; and whatever is wrong is a ``CaseError`` that names the file and the field.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydantic

from harness import jsonfile, layout, scenes, tensorfile
from harness.case import CARRIERS, Case, CaseDocument
from harness.errors import CaseError, os_reason
from sim3solve import held
from sim3solve.problem import ProblemError

DOCUMENT = "case.json"
TENSORS = "tensors.safetensors"
MAX_DOCUMENT_BYTES = 1 << 20
MAX_TENSORS_BYTES = 1 << 31

_READ_ONLY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_case(folder: Path | str) -> Case:
    """Read and check one case. Generated cases are made here, by the scene they name, and checked by their hash as well."""
    folder = Path(folder)
    document = read_document(folder)
    try:
        values = _generate(folder, document) if document.generator is not None else _read_tensors(folder, document)
        case = Case(document, values, folder)
        layout.check_overlaps(case)
    except MemoryError:
        raise CaseError(folder / DOCUMENT, "tensors", "need more memory than there is") from None
    return case


def read_document(folder: Path | str) -> CaseDocument:
    """Read and check ``case.json`` alone."""
    file = Path(folder) / DOCUMENT
    data = _read_bounded(file, MAX_DOCUMENT_BYTES)
    try:
        parsed = jsonfile.parse(data)  # stricter than pydantic's own parser, which then sees the same bytes
        if isinstance(parsed, dict) and "schema" not in parsed:
            raise CaseError(file, "schema", "missing")
        return CaseDocument.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise _document_error(file, error) from None
    except ValueError as error:
        raise CaseError(file, "json", str(error)) from None


def write_case(case: Case, folder: Path | str, *, replace: bool = False) -> Case:
    """Write a case atomically: a temporary folder, everything synced, then one rename. Returns it as read back.

    ``document.tensors_sha256`` is recomputed. Raises ``CaseError`` when the folder exists and ``replace`` is false, when it holds
    anything but a case, when the values do not fit the document, or when the disk refuses.
    """
    folder = Path(folder)
    _check_values(folder, case.document, case.values)
    data = pack_tensors(case.values, case.document)
    document = case.document.model_copy(update={"tensors_sha256": hashlib.sha256(data).hexdigest()})
    with staging(folder, replace=replace) as temporary:
        if document.generator is None:
            jsonfile.write_bytes(temporary / TENSORS, data)
        jsonfile.write_bytes(temporary / DOCUMENT, pack_document(document))
        written = read_case(temporary)  # what cannot be read back is not worth keeping
    return Case(written.document, written.values, folder)


def find_cases(paths: list[Path]) -> Iterator[Path]:
    """Folders that are cases: each path itself, or those below it in order of name. Raises ``CaseError`` where there is none."""
    for path in paths:
        try:
            found = [path] if (path / DOCUMENT).is_file() else sorted(file.parent for file in path.glob(f"*/{DOCUMENT}"))
            exists = path.exists()
        except OSError as error:
            raise CaseError(path, "case", error.strerror or str(error)) from None
        found = [folder for folder in found if folder == path or not folder.name.startswith(".")]
        if not found:
            raise CaseError(path, "case", f"no {DOCUMENT} here or in a folder below" if exists else "no such folder")
        yield from found


def pack_document(document: CaseDocument) -> bytes:
    """The bytes of ``case.json``: all but defaults, though every option: a later default must not change an old case."""
    fields = document.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    fields["options"] = document.options.model_dump(mode="json")
    return (jsonfile.dumps({"schema": document.schema_} | fields) + "\n").encode()


def pack_tensors(values: Mapping[str, np.ndarray], document: CaseDocument) -> bytes:
    """The bytes of ``tensors.safetensors``: contiguous values under upstream's names."""
    return tensorfile.pack(document.tensors, values)


@contextmanager
def staging(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is gone without a trace if not.

    What goes wrong inside is a ``CaseError`` about ``folder``, never about the temporary name.
    """
    made: list[Path] = []
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    try:
        _check_place(folder, replace)
        made = [parent for parent in folder.parents if not parent.exists()]
        temporary.mkdir(parents=True)
        yield temporary
        _swap(temporary, folder)
    except (OSError, ValueError) as error:
        raise CaseError(folder, "write", os_reason(error) if isinstance(error, OSError) else str(error)) from error
    except CaseError as error:
        raise CaseError(error.file.replace(str(temporary), str(folder)), error.field, error.reason) from None
    finally:
        with suppress(ValueError):  # a name that no system takes
            shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            with suppress(OSError, ValueError):
                parent.rmdir()  # succeeds only on an empty one


@contextmanager
def open_regular(file: Path, limit: int) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file of at most ``limit`` bytes, and its size; a link, device, pipe or folder is refused, never waited for."""
    try:
        _check_regular(file, os.lstat(file), limit)
        descriptor = os.open(file, _READ_ONLY)
        try:
            state = os.fstat(descriptor)
            _check_regular(file, state, limit)  # again: it may have been exchanged since
            handle = os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
        with handle:
            yield handle, state.st_size
    except (OSError, ValueError) as error:
        raise CaseError(file, "file", os_reason(error) if isinstance(error, OSError) else str(error)) from None


def _check_regular(file: Path, state: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise CaseError(file, "file", "is a link" if stat.S_ISLNK(state.st_mode) else "is not a regular file")
    if state.st_size > limit:
        raise CaseError(file, "file", f"has {state.st_size} bytes; the limit is {limit}")


def _read_bounded(file: Path, limit: int) -> bytes:
    with open_regular(file, limit) as (handle, size):
        data = handle.read(size + 1)
    if len(data) != size:
        raise CaseError(file, "file", "changed while it was read")
    return data


def _document_error(file: Path, error: pydantic.ValidationError) -> CaseError:
    first = error.errors(include_url=False, include_input=False)[0]
    field, reason = [str(part) for part in first["loc"]], first["msg"]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ProblemError):
        field, reason = [*field, cause.field], cause.reason
    return CaseError(file, ".".join(field) or "case", reason)


def _read_tensors(folder: Path, document: CaseDocument) -> dict[str, np.ndarray]:
    file = folder / TENSORS
    data = _read_bounded(file, min(MAX_TENSORS_BYTES, tensorfile.max_bytes(document.tensors)))
    if hashlib.sha256(data).hexdigest() != document.tensors_sha256:
        raise CaseError(file, "sha256", f"the file is not the one {DOCUMENT} was written with")
    return tensorfile.unpack(file, data, document.tensors)


def _generate(folder: Path, document: CaseDocument) -> dict[str, np.ndarray]:
    assert document.generator is not None
    if os.path.lexists(folder / TENSORS):
        raise CaseError(folder / TENSORS, "generator", "the case is generated, yet the file exists")
    values = scenes.generate(document.generator)
    _check_values(folder / DOCUMENT, document, values)
    if hashlib.sha256(pack_tensors(values, document)).hexdigest() != document.tensors_sha256:
        raise CaseError(folder / DOCUMENT, "tensors_sha256", "the generated values differ from those the case was made with")
    return values


def _check_values(file: Path, document: CaseDocument, values: Mapping[str, np.ndarray]) -> None:
    for name in sorted(set(document.tensors) ^ set(values)):
        raise CaseError(file, name, f"is in {'the values' if name in values else DOCUMENT} only")
    for name, spec in document.tensors.items():
        array = values[name]
        if array.dtype != CARRIERS[spec.dtype] or array.shape != spec.shape:
            raise CaseError(file, name, f"holds {array.dtype} {array.shape}, {DOCUMENT} says {spec.dtype} {spec.shape}")


def _check_place(folder: Path, replace: bool) -> None:
    if folder.name in ("", ".."):
        raise CaseError(folder, "case", "is no name for a folder")
    if not os.path.lexists(folder):
        return
    if not replace:
        raise CaseError(folder, "case", "exists already")
    # Replacing removes what is there: a mistyped path must not cost more than a case.
    if folder.is_symlink() or not folder.is_dir() or {entry.name for entry in folder.iterdir()} - {DOCUMENT, TENSORS}:
        raise CaseError(folder, "case", "is not a case, and is not replaced by one")


def _swap(temporary: Path, folder: Path) -> None:
    """Put a finished folder in its place. One that was there is moved aside first, back on any failure, and removed at the end."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
    finished = temporary.stat()
    try:
        if folder.exists():
            held.retried(lambda: folder.rename(aside))
        held.retried(lambda: temporary.rename(folder))
        jsonfile.sync_folder(folder.parent)
    except BaseException:
        if folder.exists() and os.path.samestat(folder.stat(), finished):
            held.retried(lambda: folder.rename(temporary))
        if aside.exists():
            held.retried(lambda: aside.rename(folder))
        raise
    shutil.rmtree(aside, ignore_errors=True)
