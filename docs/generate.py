"""Write docs/reference/ from the code: ``python docs/generate.py``. A test compares what is committed with what this writes.

The command line comes from the verbs' signatures, the formats from the classes that read and write them, the Python interface from
the sources, which are not imported: nothing of the machine this runs on is in the result.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
NOTE = "Written by `python docs/generate.py`; not to be edited by hand."

SIM3SOLVE = ("sim3solve", "sim3solve.problem", "sim3solve.mast3r_slam", "sim3solve.reference", "sim3solve.pytorch",
             "sim3solve.native", "sim3solve.cuda")  # fmt: skip
HARNESS = (
    "harness.record", "harness.case", "harness.casefile", "harness.casepack", "harness.registry", "harness.isolation",
    "harness.replay", "harness.run", "harness.outcome", "harness.compare", "harness.rundiff", "harness.diagnosis.engine",
    "harness.diagnosis.bugs", "harness.diagnosis.ofrun", "harness.report.write", "harness.forms.junit", "harness.forms.sarif",
    "harness.forms.markdown", "harness.forms.bundle", "harness.forms.view", "harness.errors",
)  # fmt: skip
"""The modules that a program may use. Their public names are what does not begin with an underscore."""


def documents() -> dict[str, str]:
    """File name -> text of everything in docs/reference/."""
    return {
        "README.md": _index(),
        "cli.md": command_line(),
        "case.schema.json": _json(case_schema()),
        "outcome.schema.json": _json(outcome_schema()),
        "sim3solve.md": api("sim3solve in Python", SIM3SOLVE),
        "harness.md": api("The harness in Python", HARNESS),
    }


# The command line


def command_line() -> str:
    from harness.cli.main import app

    parts = [f"# Command line\n\n{NOTE} `harness` and `python -m harness` are the same.\n\n{_words(app.info.help)}\n"]
    parts += [_command(f"harness {name}", *rest) for name, *rest in sorted(_commands(app))]
    return "\n".join(parts)


def _commands(app: Any) -> Iterator[tuple[str, Any, str]]:
    for info in app.registered_commands:
        yield info.name or info.callback.__name__.replace("_", "-"), info.callback, info.epilog or ""
    for group in app.registered_groups:
        for name, callback, epilog in _commands(group.typer_instance):
            yield f"{group.name} {name}", callback, epilog


def _command(name: str, callback: Any, epilog: str) -> str:
    arguments, options = [], []
    hints = typing.get_type_hints(callback, include_extras=True)
    for parameter in inspect.signature(callback).parameters.values():
        kind, info = _annotation(hints[parameter.name])
        required = parameter.default is inspect.Parameter.empty
        if type(info).__name__ == "ArgumentInfo":
            shown = parameter.name.upper() + ("..." if _repeats(kind) else "")
            arguments.append((shown if required else f"[{shown}]", info))
        else:
            options.append((_flags(parameter.name, kind, info), info, "required" if required else _default(parameter.default)))
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(shown for shown, _ in arguments)])
    lines = [f"## {name}\n", f"```text\n{usage}\n```\n", f"{_words(inspect.getdoc(callback))}\n"]
    if arguments:
        lines += ["| argument | |", "|---|---|", *(f"| `{shown}` | {_cell(info.help)} |" for shown, info in arguments), ""]
    if options:
        lines += ["| option | default | |", "|---|---|---|"]
        lines += [f"| {flags} | {default} | {_cell(info.help)}{_range(info)} |" for flags, info, default in options] + [""]
    examples = epilog.removeprefix("Examples: ").removeprefix("Example: ")
    if examples:
        lines += ["```text", *examples.split(" | "), "```\n"]
    return "\n".join(lines)


def _annotation(hint: Any) -> tuple[Any, Any]:
    kind, *rest = typing.get_args(hint)
    return kind, rest[0]


def _repeats(kind: Any) -> bool:
    return any(typing.get_origin(part) is list for part in (kind, *typing.get_args(kind)))


def _flags(name: str, kind: Any, info: Any) -> str:
    # typer keeps the first name of an annotated option where a default would be.
    given = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str) and word.startswith("-")]
    named, given = bool(given), given or [f"--{name.replace('_', '-')}"]
    if kind is bool and not named:
        given = [f"{given[0]}/--no-{given[0][2:]}"]
    value = "" if kind is bool else f" {info.metavar or name.upper()}"
    return ", ".join(f"`{word}{value}`" for word in given)


def _default(value: Any) -> str:
    if value is None or isinstance(value, bool) or value == []:
        return "yes" if value is True else ""
    shown = value.as_posix() if isinstance(value, Path) else value.value if isinstance(value, Enum) else value
    return f"`{shown:g}`" if isinstance(shown, float) else f"`{shown}`"


def _range(info: Any) -> str:
    bounds = [f"at {word} {value:g}" for word, value in (("least", info.min), ("most", info.max)) if value is not None]
    return f" ({', '.join(bounds)})" if bounds else ""


# The formats


def case_schema() -> dict[str, Any]:
    from harness.case import CaseDocument

    schema = CaseDocument.model_json_schema(by_alias=True)
    return _schema("case.json", schema, "sim3solve-case/1")


def outcome_schema() -> dict[str, Any]:
    """An outcome as ``Outcome.to_json`` writes it: ``kind`` is called ``outcome``, and ``signal`` stands beside ``exit``."""
    from pydantic import TypeAdapter

    from harness.outcome import Outcome

    schema = TypeAdapter(Outcome).json_schema()
    properties = schema["properties"]
    renamed = {"outcome" if name == "kind" else name: value for name, value in properties.items()}
    schema["properties"] = renamed | {"signal": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
    schema["required"] = list(schema["properties"])  # every field is written, whatever its value
    schema["additionalProperties"] = False
    schema["$defs"]["Number"] = {
        "description": "A number, or the word for one that JSON has none for.",
        "anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}],
    }
    return _schema("outcomes/NAME.json of a run, and each of `outcomes` in `harness replay --json`", _numbers(schema), "outcome")


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("type") == "number":
            return {name: item for name, item in value.items() if name != "type"} | {"$ref": "#/$defs/Number"}
        return {name: item if name == "Number" else _numbers(item) for name, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def _schema(what: str, schema: dict[str, Any], title: str) -> dict[str, Any]:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "$comment": f"{what}. {NOTE}"}
    return head | {name: value for name, value in schema.items() if name != "title"}


# The Python interface


def api(title: str, modules: tuple[str, ...]) -> str:
    return "\n".join([f"# {title}\n\n{NOTE}\n", *map(_module, modules)])


def _module(name: str) -> str:
    path = ROOT.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")]
    shown = [_class(node) if isinstance(node, ast.ClassDef) else _function(node, "###") for node in public]
    return "\n".join([f"## {name}\n", f"{_words(ast.get_docstring(tree))}\n", *shown])


def _function(node: ast.FunctionDef, level: str) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    text = f"{node.name}({ast.unparse(node.args)}){returns}"
    return f"{level} {node.name}\n\n```text\n{text}\n```\n\n{_words(ast.get_docstring(node))}\n"


def _class(node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"### {node.name}\n", f"```text\nclass {node.name}{f'({bases})' if bases else ''}"]
    lines += [f"    {ast.unparse(it)}" for it in node.body if isinstance(it, (ast.AnnAssign, ast.Assign)) and _is_public(it)]
    lines += ["```\n", f"{_words(ast.get_docstring(node))}\n"]
    methods = [it for it in node.body if isinstance(it, ast.FunctionDef) and not it.name.startswith("_") and ast.get_docstring(it)]
    return "\n".join([*lines, *(_function(method, "####") for method in methods)])


def _is_public(node: ast.AnnAssign | ast.Assign) -> bool:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return isinstance(target, ast.Name) and not target.id.startswith("_") and target.id != "model_config"


# Words


def _index() -> str:
    return (
        f"# Reference\n\n{NOTE}\n\n"
        "- [cli.md](cli.md): every command with its options\n"
        "- [case.schema.json](case.schema.json): JSON Schema of `case.json`; [../cases.md](../cases.md) explains it\n"
        "- [outcome.schema.json](outcome.schema.json): JSON Schema of an outcome; [../outcomes.md](../outcomes.md) explains it\n"
        "- [sim3solve.md](sim3solve.md): the solver in Python\n"
        "- [harness.md](harness.md): the harness in Python\n"
    )


def _words(text: str | None) -> str:
    """A docstring as Markdown: double backticks are code."""
    return inspect.cleandoc(text or "").replace("``", "`")


def _cell(text: str | None) -> str:
    return " ".join(_words(text).split()).replace("|", "\\|")


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every file, and remove what is no longer made."""
    REFERENCE.mkdir(exist_ok=True)
    made = documents()
    for file in REFERENCE.iterdir():
        if file.name not in made:
            file.unlink()
    for name, text in made.items():
        (REFERENCE / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
