"""Rules for installations: the wrong package, the wrong build, the wrong torch. What an import says is quoted."""

from __future__ import annotations

import re

from harness.diagnosis import faultclass
from harness.diagnosis.evidence import SAID, Evidence, exit_facts, find_line, input_fact, text_of
from harness.diagnosis.rule import ENVIRONMENT, HOST, LIKELY, POSSIBLE, PROVEN, Match, Rule, present
from harness.outcome import Fact, Kind

_NAMESAKE = re.compile(
    r"cannot import name '?\w+'? from '?lietorch\b|module '?lietorch'? has no attribute '?(SO3|RxSO3|SE3|Sim3)\b|PyPI's .?lietorch"
)
_CIRCULAR = re.compile(r"circular import|partially initialized")
_NOT_BUILT = re.compile(
    r"No module named '?(lietorch_backends|lietorch_extras|mast3r_slam_backends|curope)\b|compiled part \w+ is not there"
)
_NO_MODULE = re.compile(r"No module named '?([\w.]+)|there is no module \w+")
_UNDEFINED = re.compile(r"undefined symbol: (\S+)|symbol not found in flat namespace '?(\S+?)'?(\s|$)|Symbol not found: (\S+)")
_LOADER = (*SAID, "stderr")
_TORCH_SYMBOL = re.compile(r"3c10|_ZNK?2at|N2at\d|5torch|PyInit__C|_ZN6caffe2")
_PROCEDURE = re.compile(r"DLL load failed.*(procedure|[Pp]rozedur)")
_MODULE_DLL = re.compile(
    r"DLL load failed|\[WinError 126\]|cannot open shared object file|Library not loaded|GLIBCXX_[\d.]+' not found"
)
_LONG = re.compile(r"(LNK2001|LNK2019|unresolved external symbol).*(data_ptr<long>|\?\?\$data_ptr@J@)")
_UNDEFINED_TENSOR = re.compile(r"undefined [Tt]ensor|[Tt]ensor[^.]{0,40}\bundefined\b|'?NoneType'?|got None")
_HALF = ("float16", "bfloat16", "torch.float16", "torch.bfloat16", "half")


def wrong_lietorch(e: Evidence) -> Match | None:
    """The installed lietorch is PyPI's, another project of the same name."""
    said = find_line(e.outcome, _NAMESAKE, SAID)
    if said is None or find_line(e.outcome, _CIRCULAR, SAID):
        return None
    checks = e.documents.doctor.about(r"^lietorch$") if e.documents.doctor else ()
    wrong = [Fact(f"{it.name}: {it.state}: {it.detail}", it.where) for it in checks if it.state == "fail"]
    right = [Fact(f"{it.name}: {it.state}: {it.detail}", it.where) for it in checks if it.state == "ok"]
    return Match(
        ENVIRONMENT,
        "the wrong package: PyPI's lietorch is another project, without the Lie groups of Princeton's",
        PROVEN if wrong else LIKELY,
        (said, *wrong),
        "harness doctor finds Princeton's lietorch, or the name is missing because of a file called lietorch.py in the way",
        "harness doctor",
        "pip uninstall lietorch, then install Princeton's from its git repository; or use sim3solve, which needs none",
        tuple(right),
    )


def extension_not_built(e: Evidence) -> Match | None:
    """A package is there and its compiled part is not."""
    said = find_line(e.outcome, _NOT_BUILT, SAID)
    if said is None:
        return None
    return Match(
        ENVIRONMENT,
        "the package is there as source, but its compiled extension is not",
        LIKELY,
        (said,),
        "the extension's file is in site-packages and another Python is running",
        "harness doctor",
        "build the package with this environment's compiler and torch: pip install --no-build-isolation from its repository",
    )


def missing_package(e: Evidence) -> Match | None:
    """A package that the solver imports is not installed."""
    said = find_line(e.outcome, _NO_MODULE, SAID)
    if said is None:
        return None
    return Match(
        ENVIRONMENT, "a package that the solver imports is not installed", PROVEN, (said,),
        "it is installed, and the harness runs under another Python", "harness doctor", "install it into the harness's Python",
    )  # fmt: skip


def abi_mismatch(e: Evidence) -> Match | None:
    """The extension was built against another torch: a symbol of torch's is missing at import."""
    said = find_line(e.outcome, _UNDEFINED, _LOADER)
    named = _undefined_symbol(e)
    symbol = _TORCH_SYMBOL.search(named) is not None
    procedure = find_line(e.outcome, _PROCEDURE, SAID)
    entry = e.fault == faultclass.WRONG_LIBRARY and e.outcome.exit is not None and "ENTRYPOINT" in e.outcome.exit.name
    if not symbol and procedure is None and not entry:
        return None
    audits = e.documents.audits
    lacking = [(name != named, name, f"{audit.source}: undefined_torch") for audit in audits for name in audit.undefined_torch]
    missing = [Fact(f"not in torch: {name}", where) for _, name, where in sorted(lacking)]
    # An audit of another file says nothing of this one: it must have looked this very symbol up.
    resolved = [it for audit in audits if symbol and named in audit.resolved_torch for it in audit.about("torch", "ok")]
    return Match(
        ENVIRONMENT,
        "the extension was built against another torch than the one that is installed: their binary interfaces differ",
        PROVEN if missing and (not symbol or any(name == named for _, name, _ in lacking)) else LIKELY if symbol else POSSIBLE,
        (*present(said if symbol else None, procedure), *(exit_facts(e.outcome) if entry else ()), *missing[:2]),
        "the same error after a rebuild in this environment, or an audit in which every symbol of torch resolves",
        "harness audit FILE (the extension)",
        "rebuild the extension in this environment: pip install --no-build-isolation --force-reinstall; pin torch beside it",
        tuple(Fact(it.what, it.where) for it in resolved) if not missing else (),
    )


def _undefined_symbol(e: Evidence) -> str:
    """In full, however long a template's name is."""
    found = next((it for part in _LOADER if (it := _UNDEFINED.search(text_of(e.outcome, part)))), None)
    return next(filter(None, found.groups()), "").strip() if found else ""


def missing_library(e: Evidence) -> Match | None:
    """A shared library is missing, of another architecture, or lacks a symbol that is not torch's."""
    said = find_line(e.outcome, _MODULE_DLL, SAID) or find_line(e.outcome, _UNDEFINED, SAID)
    died = e.fault in (faultclass.MISSING_LIBRARY, faultclass.WRONG_LIBRARY)
    if said is None and not died:
        return None
    return Match(
        ENVIRONMENT,
        "a library that the solver needs is missing, failed to start, or is not of this architecture",
        PROVEN if died else LIKELY,
        (*exit_facts(e.outcome), *present(said)) if died else present(said),
        "the library loads by itself in the same Python: ctypes.CDLL(path)",
        "harness doctor",
        "install what the message names (on Windows the Visual C++ runtime and CUDA's DLLs), on the path of this Python",
    )


def long_is_32_bit(e: Evidence) -> Match | None:
    """A build fails on Windows because the source says data_ptr<long>, and long has 32 bits there."""
    said = find_line(e.outcome, _LONG)
    if said is None:
        return None
    return Match(
        HOST,
        "the source of the extension says data_ptr<long>; on Windows long has 32 bits, and torch has no such function",
        PROVEN if "exception" in said.where else LIKELY,
        (said,),
        "the linker names another function, or the build is not for Windows",
        "build again and read the linker's first line",
        "write int64_t for long in the extension's source",
    )


def unsupported_dtype(e: Evidence) -> Match | None:
    """Half precision comes back as an undefined tensor: the extension's dispatch has no such case and says nothing."""
    half = any(dtype in _HALF for dtype in e.dtypes)
    said = find_line(e.outcome, _UNDEFINED_TENSOR, ("exception.message",)) if e.outcome.kind is Kind.RAISED else None
    broken = [
        rung
        for name in _HALF
        for rung in e.rungs(dtype=name)
        if rung.result in ("error", "crash", "wrong") and _fits_op(e, rung.op)
    ]
    whole = [r for r in e.rungs(dtype="float32", result="ok") if any(r.op == b.op and r.device == b.device for b in broken)]
    if not half or not (said or (broken and e.outcome.kind is Kind.RAISED)):
        return None
    return Match(
        HOST,
        "the extension does not know half precision: its dispatch has no case for it and returns an undefined tensor",
        PROVEN if broken and whole and said else LIKELY if said else POSSIBLE,
        (*present(said), input_fact(e, "dtypes"), *(Fact(r.words, r.where) for r in (*broken[:1], *whole[:1]))),
        "the same failure with float32",
        "harness probe",
        "convert to float32 before the call",
    )


def _fits_op(e: Evidence, op: str) -> bool:
    return e.op is None or e.op == op


RULES = (
    Rule("wrong-lietorch", wrong_lietorch),
    Rule("extension-not-built", extension_not_built),
    Rule("abi-mismatch", abi_mismatch),
    Rule("missing-library", missing_library),
    Rule("missing-package", missing_package),
    Rule("long-is-32-bit", long_is_32_bit),
    Rule("unsupported-dtype", unsupported_dtype),
)
