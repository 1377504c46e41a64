"""Write the report of a run folder beside the run, each file whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.bisect.section import BISECT_CSS
from harness.jsonfile import write_bytes
from harness.report.page import Page, build_page
from harness.report.pictures import PICTURES_CSS, PICTURES_JS
from harness.report.tables import csv, frame, parquet
from harness.report.text import clean
from harness.run import read_run

PAGE, PARQUET, CSV = "index.html", "results.parquet", "results.csv"


def write_report(run_folder: Path, *, pictures: bool = True) -> Path:
    """Returns the path of ``index.html``, with each case's pictures or without. Raises ``ResultError`` for a run it cannot read."""
    run = read_run(run_folder)
    table = frame(run)
    html = render(build_page(run, pictures=pictures))
    write_bytes(run_folder / PARQUET, parquet(table))
    write_bytes(run_folder / CSV, csv(table))
    write_bytes(run_folder / PAGE, html.encode())
    return run_folder / PAGE


def render(page: Page) -> str:
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["clean"] = clean
    script, style = (environment.get_template(name).render() for name in ("report.js", "report.css"))
    script, style = f"{script}\n{PICTURES_JS}", f"{style}\n{PICTURES_CSS}\n{BISECT_CSS}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Should a string from a case ever get past the escaping, the browser still runs no script but ours and loads nothing.
    sources = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    policy = sources + "; base-uri 'none'; form-action 'none'"
    template = environment.get_template("report.html.j2")
    return template.render(page=page, policy=policy, script=Markup(script), style=Markup(style), parquet=PARQUET, csv=CSV)
