"""Archives of objects (.a, .lib): the members, by name."""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import AuditError

MAGIC = b"!<arch>\n"
THIN_MAGIC = b"!<thin>\n"
_HEADER = 60
_LONG_NAMES, _INDEXES = "//", ("/", "/SYM64/", "/<XFGHASHMAP>/", "/<ECSYMBOLS>/", "__.SYMDEF", "__.SYMDEF SORTED")


def members(data: bytes, file: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each object. Raises ``AuditError`` where a header does not hold."""
    if data.startswith(THIN_MAGIC):
        raise AuditError(file, "magic", "a thin archive holds only the names of its objects; give the objects themselves")
    long_names = b""
    offset = len(MAGIC)
    while offset < len(data):
        header = data[offset : offset + _HEADER]
        where = f"member at {offset:#x}"
        if len(header) < _HEADER or header[58:60] != b"`\n":
            raise AuditError(file, where, "the header of a member is cut off or damaged")
        size_text = header[48:58].strip()
        if not size_text.isdigit():
            raise AuditError(file, f"{where}.size", f"{size_text[:20]!r} is no number")
        start, size = offset + _HEADER, int(size_text)
        if start + size > len(data):
            raise AuditError(file, f"{where}.size", f"{size} bytes are announced and {len(data) - start} are there")
        name = header[:16].decode("latin-1").rstrip()
        content = data[start : start + size]
        offset = start + size + size % 2
        if name == _LONG_NAMES:
            long_names = content
        elif name not in _INDEXES:
            yield _full_name(name, long_names, content, file, where)


def _full_name(name: str, long_names: bytes, content: bytes, file: str, where: str) -> tuple[str, bytes]:
    if name.startswith("/") and name[1:].isdigit():  # GNU and Microsoft: an offset into the long names
        at = int(name[1:])
        if at >= len(long_names):
            raise AuditError(file, f"{where}.name", f"offset {at} is past the {len(long_names)} bytes of long names")
        rest = long_names[at:].split(b"\n")[0].split(b"\0")[0]
        return rest.decode("utf-8", "replace").rstrip("/"), content
    if name.startswith("#1/") and name[3:].isdigit():  # BSD: the name stands before the content
        length = int(name[3:])
        return content[:length].rstrip(b"\0").decode("utf-8", "replace"), content[length:]
    return name.rstrip("/"), content
