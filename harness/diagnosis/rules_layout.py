"""Rules for what a layout sweep shows: the same values fail in some layouts and not in others, or once and not again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.diagnosis.evidence import Evidence, exit_facts, frame_facts
from harness.diagnosis.rule import HOST, LIKELY, POSSIBLE, Match, Rule
from harness.diagnosis.sweeps import BY_CHANCE, example_facts, layout_rule, split
from harness.outcome import Fact, Kind


@dataclass(frozen=True)
class LayoutSort:
    """One thing that a kernel takes for granted of its tensors' memory, and how a sweep speaks of it."""

    cause: str
    pattern: re.Pattern[str]
    claim: str
    fix: str


# fmt: off
LAYOUT_SORTS = (
    LayoutSort("misaligned", re.compile(r" mod \d+ != 0"), "a misaligned access",
               "load by the element's own type, or copy to an aligned buffer where a wide load is wanted"),
    LayoutSort("assumes-contiguous", re.compile(r"not contiguous|not adjacent|stored transposed"),
               "it reads a tensor as if its elements lay one after another",
               "use the tensor's strides, or call contiguous() before the launch"),
    LayoutSort("ignores-storage-offset", re.compile(r"past the start of its storage"),
               "it reads a view from the start of the storage that it is a view of", "take data_ptr(), not storage().data_ptr()"),
    LayoutSort("assumes-no-sharing", re.compile(r"shares? (its storage|memory)|elements that share"),
               "it takes for granted that no two tensors share memory",
               "copy what is written to, or read all before the first write"),
)
# fmt: on


def layout_rule_for(sort: LayoutSort) -> Callable[[Evidence], Match | None]:
    def match(e: Evidence) -> Match | None:
        rule = layout_rule(e.sweep, e.outcome.layout) if e.sweep is not None and _failed(e) else None
        if rule is None or not sort.pattern.search(rule.text) or (sort.cause == "misaligned") != rule.alignment:
            return None
        return Match(
            HOST if e.fault else e.side,
            f"{sort.claim}: it fails exactly when {rule.text}",
            LIKELY,
            (*exit_facts(e.outcome), *frame_facts(e)[:1], *rule.facts),
            f"a layout in which it fails although not: {rule.text}; or one in which it works all the same",
            e.command("--layouts"),
            sort.fix,
        )

    match.__doc__ = f"A layout sweep says: {sort.claim}."
    return match


def fails_by_chance(e: Evidence) -> Match | None:
    """A layout sweep ran the same values in the same layout again, and once it failed and once it did not."""
    if e.sweep is None or e.sweep.state != BY_CHANCE or not _failed(e):
        return None
    return Match(
        HOST if e.fault else e.side,
        f"its end changes from run to run, with the same values in the same layout: it {e.sweep.rule.strip().rstrip('.')}",
        POSSIBLE,
        (*exit_facts(e.outcome), *frame_facts(e)[:1], Fact(e.sweep.rule.strip(), f"{e.sweep.source}: rule")),
        "the same end each time it is run again in that layout",
        e.command("--layouts"),
        "look for a race, for memory that is read before it is written, and for what is drawn without a seed (racecheck and "
        "initcheck on a GPU, valgrind on the CPU)",
    )


def fails_in_some_layouts(e: Evidence) -> Match | None:
    """The same values fail in some layouts and not in others, and no rule says exactly in which."""
    bad, good = split(e.sweep) if e.sweep is not None else ([], [])
    if e.sweep is None or not good or not any(it.layout == e.outcome.layout for it in bad) or not _failed(e):
        return None
    return Match(
        HOST if e.fault else e.side,
        f"it fails in {len(bad)} of {len(bad) + len(good)} layouts of the same values, and no rule says exactly in which",
        POSSIBLE,
        (
            *exit_facts(e.outcome), *frame_facts(e)[:1], Fact(e.sweep.rule.strip(), f"{e.sweep.source}: rule"),
            *example_facts(e.sweep, e.outcome.layout, bad, good),
        ),
        "the same failure in every layout",
        e.command("--layouts"),
        "run the layout that fails and one that does not under a sanitizer, and compare what it reads of each tensor",
    )  # fmt: skip


def _failed(e: Evidence) -> bool:
    return bool(e.fault) or e.off or e.outcome.kind in (Kind.CUDA_ERROR, Kind.FINDINGS) or e.outcome.expected is False


RULES = tuple(Rule(sort.cause, layout_rule_for(sort)) for sort in LAYOUT_SORTS)
LAST = (Rule("not-repeatable", fails_by_chance), Rule("depends-on-layout", fails_in_some_layouts))
