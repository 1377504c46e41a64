"""Cases written while a tracker waits: what ``casefile.write_case`` writes, without reading it back.

The tensors are hashed while they are written. With ``sync`` a folder appears under its name only when everything in it is on the
disk; without, it survives the death of the process but not of the machine: what was written is the kernel's then.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from pathlib import Path

from harness import jsonfile
from harness.case import CaseDocument
from harness.casefile import DOCUMENT, TENSORS
from sim3solve import held


def write(folder: Path, document: CaseDocument, tensors: memoryview, *, sync: bool, spare: Path | None = None) -> CaseDocument:
    """Write a new case; returns its document with the hash filled in. On any failure nothing is left. Raises ``OSError``.

    ``spare``, which ``set_aside`` returned, is used up: to write over a file takes half the time of a new one's.
    """
    temporary = _hidden(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if spare is None or not _taken(spare, temporary):
            temporary.mkdir()
        digest = hashlib.sha256()
        hashing = threading.Thread(target=digest.update, args=(tensors,), daemon=True)
        hashing.start()
        try:
            _write_file(temporary / TENSORS, tensors, sync)
        finally:
            hashing.join()
        document = document.model_copy(update={"tensors_sha256": digest.hexdigest()})
        _write_file(temporary / DOCUMENT, memoryview(_document_bytes(document)), sync)
        if sync:
            jsonfile.sync_folder(temporary)
        held.retried(lambda: temporary.rename(folder))
        if sync:
            jsonfile.sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return document


def update(folder: Path, document: CaseDocument, *, sync: bool) -> None:
    """Put another document into a case that ``write`` wrote, atomically. Raises ``OSError``; then the old one is still there."""
    data = _document_bytes(document)
    if sync:
        jsonfile.write_bytes(folder / DOCUMENT, data)
        return
    temporary = folder / f".{DOCUMENT}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(data)
        held.replace(temporary, folder / DOCUMENT)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def set_aside(folder: Path) -> Path | None:
    """Take a case's name away, so that it is no case any more, and return what is left of it; None when somebody holds it."""
    aside = _hidden(folder)
    try:
        folder.rename(aside)
    except OSError:  # Windows, while somebody looks at it; or it was removed by hand
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return aside


def remove(folder: Path) -> None:
    """Remove a case: first its name, so that what is left of a removal cut short does not look like one."""
    aside = set_aside(folder)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _hidden(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")


def _taken(spare: Path, temporary: Path) -> bool:
    """Make a spare the folder that is written next. Whether that went well; where not, the spare is gone."""
    try:
        (spare / DOCUMENT).unlink(missing_ok=True)
        spare.rename(temporary)
    except OSError:
        shutil.rmtree(spare, ignore_errors=True)
        return False
    return True


def _document_bytes(document: CaseDocument) -> bytes:
    fields = document.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    fields["options"] = document.options.model_dump(mode="json")  # in full: a later default must not change an old case
    return (jsonfile.dumps({"schema": document.schema_} | fields) + "\n").encode()


def _write_file(file: Path, data: memoryview, sync: bool) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    with open(descriptor, "wb", buffering=0) as handle:
        written = 0
        while written < len(data):
            written += handle.write(data[written:])
        handle.truncate()  # a spare's file may have been longer
        if sync:
            os.fsync(descriptor)
