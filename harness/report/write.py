"""Write the report of a run folder beside the run, each file whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.bisect.section import BISECT_CSS
from harness.errors import ResultError
from harness.jsonfile import write_bytes
from harness.report.page import Page, build_page
from harness.report.pictures import PICTURES_CSS, PICTURES_JS
from harness.report.readable import readable_run
from harness.report.sheets import PAGE_BYTES, remove_stale, split
from harness.report.tables import csv, frame, parquet
from harness.report.text import clean
from harness.report.words import how_words

PAGE, PARQUET, CSV = "index.html", "results.parquet", "results.csv"

INDEX_ROWS = 200
"""Rows that a table of poses has on the index of a report that is on several pages."""


def write_report(run_folder: Path, *, pictures: bool = True, one_file: bool = False) -> Path:
    """Returns the path of ``index.html``, with each case's pictures or without. A report too large for one page has the details of
    its outcomes on ``cases-0001.html`` and so on, unless it must be ``one_file``. An outcome that cannot be read is left out, and
    the page says so. Raises ``ResultError`` for a run it cannot read and for a file it cannot write.
    """
    run, left_out = readable_run(run_folder)
    table = frame(run)
    page = build_page(run, pictures=pictures, left_out=left_out)
    files = {PAGE: render(page)} if one_file else render_files(page)
    _save(run_folder / PARQUET, parquet(table))
    _save(run_folder / CSV, csv(table))
    for name, html in sorted(files.items(), key=lambda item: item[0] == PAGE):  # what it leads to is there before the index
        _save(run_folder / name, html.encode())
    remove_stale(run_folder, files)
    return run_folder / PAGE


def _save(file: Path, data: bytes) -> None:
    try:
        write_bytes(file, data)
    except OSError as error:  # a full disk, a folder of that name, a folder that may not be written
        raise ResultError(file, "file", f"cannot be written: {error.strerror or error}") from None


def render(page: Page) -> str:
    """All of it on one page."""
    return _Templates(page).index()


def render_files(page: Page) -> dict[str, str]:
    """The files of the report by name: ``index.html`` alone where it is small enough."""
    templates = _Templates(page)
    html = templates.index()
    return {PAGE: html} if len(html.encode()) <= PAGE_BYTES else templates.several()


class _Templates:
    """The templates with what all pages of one report share; the HTML of each outcome and each case's pictures is made once."""

    def __init__(self, page: Page) -> None:
        self._page = page
        environment = Environment(
            loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters["clean"] = clean
        environment.filters["how"] = how_words
        environment.filters["label"] = lambda name: page.labels.get(name, name)
        self._environment = environment
        scripts = [*(environment.get_template(name).render() for name in ("filter.js", "report.js")), PICTURES_JS]
        on_screen, on_paper = (environment.get_template(name).render() for name in ("report.css", "print.css"))
        script, style = "\n".join(scripts), "\n".join((on_screen, PICTURES_CSS, BISECT_CSS, on_paper))
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        # Should a string from a case ever get past the escaping, the browser still runs no script but ours and loads nothing.
        sources = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
        policy = sources + "; base-uri 'none'; form-action 'none'"
        self._shared: dict[str, Any] = {
            "page": page, "policy": policy, "script": Markup(script), "style": Markup(style), "parquet": PARQUET, "csv": CSV,
        }  # fmt: skip
        module: Any = environment.get_template("outcome.html.j2").module
        self._entries: dict[str, Markup] = {it.anchor: module.entry(it) for it in page.outcomes}
        self._entries |= {it.anchor: module.pictures(it) for it in page.pictures}

    def _render(self, template: str, **more: Any) -> str:
        return self._environment.get_template(template).render(**self._shared, **more)

    def index(self) -> str:
        parity = self._page.parity
        return self._render("report.html.j2", entries=self._entries, parts=None, parity_rows=parity, rows=None)

    def several(self) -> dict[str, str]:
        """The index, and the pages of details."""
        parts = split(self._page, self._entries)
        worst = sorted(self._page.parity, key=lambda row: not row.failed)[:INDEX_ROWS]
        files = {PAGE: self._render("report.html.j2", entries={}, parts=parts, parity_rows=worst, rows=INDEX_ROWS)}
        around = (None, *parts.sheets, None)
        for before, sheet, after in zip(around, parts.sheets, around[2:], strict=False):
            files[sheet.file] = self._render("sheet.html.j2", sheet=sheet, index=PAGE, before=before, after=after)
        return files
