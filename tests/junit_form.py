"""What Apache Ant's form of JUnit XML allows, as its well-known schema says: a table, and a check of a document against it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

DECIMAL, INT, ANY = r"\d+(\.\d+)?", r"\d+", r"(?s).*"
TOKEN = r"\S+( \S+)*"  # no blanks in a row, at the ends, or other white space
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"

ATTRIBUTES: dict[str, dict[str, str]] = {
    "testsuites": {},
    "testsuite": {
        "name": TOKEN, "timestamp": MOMENT, "hostname": TOKEN, "tests": INT, "failures": INT, "errors": INT, "time": DECIMAL,
        "package": TOKEN, "id": INT,
    },
    "properties": {}, "property": {"name": TOKEN, "value": ANY}, "system-out": {}, "system-err": {},
    "testcase": {"name": TOKEN, "classname": TOKEN, "time": DECIMAL},
    "error": {"type": ANY}, "failure": {"type": ANY}, "skipped": {},
}  # fmt: skip
OPTIONAL = {"testsuite": {"skipped": INT}, "error": {"message": ANY}, "failure": {"message": ANY}, "skipped": {"message": ANY}}
CHILDREN = {  # a pattern over the names of the children, each followed by a blank
    "testsuites": r"(testsuite )*", "testsuite": r"properties (testcase )*system-out system-err ", "properties": r"(property )*",
    "testcase": r"((skipped|error|failure) )?",
}  # fmt: skip
TEXT = ("error", "failure", "system-out", "system-err")


def problems(data: bytes) -> list[str]:
    """Everything that the form does not allow; empty for a valid document."""
    root = ElementTree.fromstring(data)
    found = [] if root.tag == "testsuites" else [f"root {root.tag}"]
    for element in root.iter():
        tag = element.tag
        if tag not in ATTRIBUTES:
            found.append(f"element {tag}")
            continue
        allowed = ATTRIBUTES[tag] | OPTIONAL.get(tag, {})
        found += [f"{tag} without {name}" for name in ATTRIBUTES[tag] if name not in element.attrib]
        found += [
            f"{tag}.{name} = {value!r}"
            for name, value in element.attrib.items()
            if not re.fullmatch(allowed.get(name, "$^"), value)
        ]
        names = "".join(f"{child.tag} " for child in element)
        found += [] if re.fullmatch(CHILDREN.get(tag, ""), names) else [f"{tag} holds {names}"]
        found += [] if tag in TEXT or not (element.text or "").strip() else [f"{tag} has text"]
        found += [f"text after {tag}"] if (element.tail or "").strip() else []
    for number, suite in enumerate(root):
        cases = suite.findall("testcase")
        counts = {"tests": len(cases), "id": number}
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            counts[attribute] = sum(case.find(tag) is not None for case in cases)
        found += [f"{name} is not {count}" for name, count in counts.items() if suite.get(name, "0") != str(count)]
    return found
