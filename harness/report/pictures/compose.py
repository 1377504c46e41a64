"""All pictures of one case, and those of a whole run, as HTML that escapes everything it was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.case import Case
from harness.outcome import Kind
from harness.report.pictures import dots, heatmaps, histograms
from harness.report.pictures import times as timing
from harness.report.pictures.cloud import Cloud, cloud
from harness.report.pictures.columns import Look, looks, ranges
from harness.report.pictures.convergence import convergence
from harness.report.pictures.drawing import Series
from harness.report.pictures.grid import image_grid
from harness.report.pictures.material import ORACLE, Material, gather, solver_series
from harness.report.pictures.residuals import QUANTITIES, Quantity, State
from harness.report.text import clean, number, shorten
from harness.report.yardsticks import read_parity, read_tolerances
from harness.run import Run


@dataclass(frozen=True)
class CasePictures:
    """What the template arranges. Empty or None is what there is nothing to draw for; ``missing`` says why."""

    series: tuple[Series, ...]
    convergence: Markup
    leaves: str
    maps: heatmaps.HeatMaps | None = None
    histograms: str = ""
    histogram_key: str = ""
    inliers: tuple[str, ...] = ()
    cloud: Cloud | None = None
    cloud_bar: str = ""
    cloud_label: str = ""
    quantity: Quantity | None = None
    missing: str = ""
    oracle: str = ORACLE


def case_pictures(run: Run, case_id: str) -> Markup:
    """Convergence, residuals before and after, and the points in 3D. Empty where there is nothing to draw or to say.

    The case is read from where the run found it, and drawn only if it is still the same. Raises ``ResultError`` when a number of
    the run is none.
    """
    found = _of_case(gather(run, case_id))
    if not (found.convergence or found.maps or found.histograms or found.cloud or found.missing):
        return Markup()
    return Markup(_templates().get_template("case.html.j2").render(it=found))


def _of_case(material: Material) -> CasePictures:
    case = material.case
    stop = case.options.delta_norm if case else None
    traced = [it for it in material.solved if it.outcome.trace]
    drawn = CasePictures(tuple(it.series for it in traced), convergence(material.solved, stop), _leaves(material))
    if case is None:
        return CasePictures(drawn.series, drawn.convergence, drawn.leaves, missing=material.why_not)
    return _with_points(drawn, material, case)


def _with_points(drawn: CasePictures, material: Material, case: Case) -> CasePictures:
    looked = looks(material)
    scales, grid, kind = ranges(looked), image_grid(case), case.document.kind
    quantity = QUANTITIES[kind][0]
    posed = any(look.found is not None for look in looked)
    shown = histograms.histograms(kind, looked, scales) if posed and grid is None else Markup()
    missing = ""
    if not posed:
        missing = f"There are no residuals to draw: {'; '.join(f'{look.name.lower()}: {look.note}' for look in looked)}."
    elif grid is None and not shown:
        missing = "There are no residuals to draw: no point counts."
    return CasePictures(
        series=drawn.series,
        convergence=drawn.convergence,
        leaves=drawn.leaves,
        maps=heatmaps.heat_maps(kind, grid, looked, scales) if posed and grid is not None else None,
        histograms=shown,
        histogram_key=histograms.key(looked),
        inliers=tuple(_inliers(look) for look in looked if look.found is not None),
        cloud=cloud(material, scales),
        cloud_bar=heatmaps.colour_bar(quantity, scales.size),
        cloud_label=f"The points of {material.id} in three dimensions, with the cameras of the keyframe and the frame.",
        quantity=quantity,
        missing=missing,
    )


def _leaves(material: Material) -> str:
    """Who leaves the oracle's trace, who keeps to it, and of whom nobody can say, in a sentence or two."""
    oracle = material.oracle
    if oracle is None or not oracle.outcome.trace:
        return "The oracle left no trace to compare with."
    others = [it for it in material.solved if not it.is_oracle and it.outcome.judged]
    left = [f"{it.series.label} after iteration {it.diverges_at}" for it in others if it.diverges_at is not None]
    kept = [it.series.label for it in others if it.outcome.trace and it.diverges_at is None]
    silent = [it.series.label for it in others if not it.outcome.trace and it.outcome.kind is Kind.OK]
    said = []
    if left:
        said.append(f"Leaves the oracle\u2019s trace: {', '.join(left)}.")
    elif kept and silent:
        said.append(f"{', '.join(kept)} {'keeps' if len(kept) == 1 else 'keep'} to the oracle\u2019s trace.")
    elif kept:
        said.append("No solver leaves the oracle\u2019s trace.")
    if silent:
        said.append(f"{', '.join(silent)} reported no iterations.")
    return " ".join(said) or "No other solver left a trace."


def _inliers(look: Look) -> str:
    assert look.found is not None
    counted = look.found.count(State.COUNTS)
    full = int(((look.found.weight >= 1) & (look.found.state == State.COUNTS)).sum())
    share = f"; {number(100 * full / counted)} % of the used have full weight" if counted else ""
    return f"{look.name}: {heatmaps.state_words(look.found)}{share}"


@dataclass(frozen=True)
class RunPictures:
    key: tuple[Series, ...]
    pose_errors: Markup
    left_out: int
    times: Markup
    time_rows: tuple[timing.TimeRow, ...]
    floor: str
    device: str


def run_pictures(run: Run, case_hrefs: Mapping[str, str] | None = None) -> Markup:
    """Pose error of all cases and time of all solvers. ``case_hrefs`` are where the cases' names lead.

    Raises ``ResultError`` when a number of the run is none.
    """
    series = solver_series(run)
    tolerances = read_tolerances(run.plan)
    rows = _rows(run)
    shown = dots.worst_first(rows, tolerances)
    judged = {
        name: its
        for name, its in series.items()
        if name != ORACLE and any(name in row.errors or name in row.without for row in shown)
    }
    points = {case: n for case, summary in run.cases.items() if isinstance(n := summary.get("n_points"), int)}
    time_rows = timing.time_rows(run.outcomes, series, points)
    timed = {row.solver for row in time_rows}
    found = RunPictures(
        key=tuple(its for name, its in series.items() if name in judged or clean(name) in timed),
        pose_errors=dots.pose_errors(shown, judged, tolerances, case_hrefs or {}),
        left_out=len(rows) - len(shown),
        times=timing.times(run.outcomes, series, points),
        time_rows=time_rows,
        floor=next((row.solver for row in time_rows if row.idle), ""),
        device=_device(run),
    )
    return Markup(_templates().get_template("run.html.j2").render(it=found))


def _rows(run: Run) -> list[dots.Row]:
    """One for every case where a solver other than the oracle was measured against it, or had no pose to measure."""
    measured: dict[str, tuple[dict[str, Mapping[str, float]], list[str]]] = {}
    plain = [outcome for outcome in run.outcomes if outcome.how == "none"]
    with_pose = {outcome.case for outcome in plain if outcome.parity}
    for outcome in plain:
        if outcome.solver == ORACLE or outcome.case not in with_pose:
            continue
        parity = read_parity(outcome)
        errors, without = measured.setdefault(outcome.case, ({}, []))
        if parity and "oracle" in parity.errors:
            errors[outcome.solver] = parity.errors["oracle"]
        elif outcome.judged and outcome.expected is False and parity is None:
            without.append(outcome.solver)
    return [dots.Row(case, errors, without) for case, (errors, without) in measured.items() if errors or without]


def _device(run: Run) -> str:
    """The machine the times are of."""
    devices = sorted({shorten(outcome.device, 20) for outcome in run.outcomes if outcome.device and outcome.solve_seconds})
    gpus = [str(gpu.get("name", "")) for gpu in run.environment.get("gpus") or () if isinstance(gpu, dict)]
    names = [shorten(str(run.environment.get("cpu") or ""), 60), *(shorten(name, 40) for name in gpus)]
    return ", ".join([*devices, *(name for name in names if name)]) or "a machine it does not name"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.report.pictures"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    return environment


def source(name: str, **values: Any) -> str:
    """The text of a file beside the templates, each word of ``values`` replaced. Raises ``KeyError`` when one is not there."""
    loader = _templates().loader
    assert loader is not None
    text = loader.get_source(_templates(), name)[0]
    for word, value in values.items():
        if word not in text:
            raise KeyError(word)
        text = text.replace(word, value)
    return text
