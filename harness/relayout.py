"""The same values in another layout: what a layout's name means, and the case that has it. Pure: nothing is read, run or changed.

A name is a comma-separated list: ``VARIANT`` for all tensors, ``TENSOR=VARIANT`` for one; what is not named stays as recorded.
``aligned-512,T_WCk=shift-4`` puts every tensor at a multiple of 512 and ``T_WCk`` 4 bytes past one. ``shift-4#2`` is ``shift-4``
run a second time.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from harness.case import FLOATING, Case, CaseDocument, TensorSpec
from harness.errors import UsageError
from harness.outcome import RECORDED

CONTIGUOUS, ALIGNED, STRIDED, TRANSPOSED, ALIASED = "contiguous", "aligned-512", "strided", "transposed", "aliased"
SHIFTS = ("shift-4", "shift-8", "shift-12")
ROWS, OFFSET = "rows", "offset"
LAYOUTS = (RECORDED, CONTIGUOUS, *SHIFTS, ALIGNED, STRIDED, ALIASED, TRANSPOSED)
"""The variants that a sweep always tries on all tensors."""

_ANY_SHIFT = "shift-K"
MEANINGS = {
    RECORDED: "as the case has it",
    CONTIGUOUS: "C order, memory of its own, the recorded address modulo 512",
    ALIGNED: "C order, memory of its own, at a multiple of 512",
    _ANY_SHIFT: "C order, memory of its own, K bytes past a multiple of 512 (rounded up to whole elements)",
    STRIDED: "every second element of a row, and rows further apart than they are long",
    ROWS: "rows further apart than they are long, their elements adjacent",
    TRANSPOSED: "the transpose of a tensor in C order",
    OFFSET: "C order, 512 bytes into its storage",
    ALIASED: "one storage for all that are floating, each at a multiple of 512 in it",
}
_AGAIN = re.compile(r"#[1-9][0-9]{0,2}$")
_SHIFT = re.compile(r"shift-([1-9][0-9]{0,2})")
_WINDOW = 512


def again(layout: str, time: int) -> str:
    """The name of the same layout, run for the ``time``-th time."""
    return f"{layout}#{time}"


def once(layout: str) -> str:
    """The name without the time."""
    return _AGAIN.sub("", layout)


def relayout(case: Case, layout: str) -> Case:
    """The case with the same values in ``layout``. Raises ``UsageError`` for a name that means nothing."""
    return dataclasses.replace(case, document=relayout_document(case.document, layout))


def relayout_document(document: CaseDocument, layout: str) -> CaseDocument:
    """What ``relayout`` does, where no values are at hand."""
    chosen = variants(document.tensors, layout)
    tensors = {name: _placed(spec, chosen[name]) for name, spec in document.tensors.items()}
    tensors |= _shared(document.tensors, [name for name, variant in chosen.items() if variant == ALIASED])
    return document.model_copy(update={"tensors": tensors})


def variants(specs: Mapping[str, TensorSpec], layout: str) -> dict[str, str]:
    """Tensor name -> variant. Raises ``UsageError``."""
    chosen = dict.fromkeys(specs, RECORDED)
    for item in once(layout).split(","):
        tensor, equals, variant = item.partition("=")
        if not equals:
            tensor, variant = "", item
        if (variant not in MEANINGS or variant == _ANY_SHIFT) and not (_SHIFT.fullmatch(variant) and int(variant[6:]) < _WINDOW):
            raise UsageError(f"layout {layout}: {variant!r} is no layout (there are: {', '.join(MEANINGS)}, with K from 1 to 511)")
        if equals and tensor not in specs:
            raise UsageError(f"layout {layout}: the case has no tensor {tensor!r} (it has: {', '.join(specs)})")
        for name in [tensor] if equals else specs:
            # Masks share no storage with numbers unless asked to by name.
            chosen[name] = ALIGNED if variant == ALIASED and not equals and specs[name].dtype not in FLOATING else variant
    return chosen


def _placed(spec: TensorSpec, variant: str) -> TensorSpec:
    if variant in (RECORDED, ALIASED):
        return spec
    shape, ndim = spec.shape, len(spec.shape)
    stride, step = [0] * ndim, 2 if variant == STRIDED else 1
    for axis in range(ndim) if variant == TRANSPOSED else reversed(range(ndim)):
        stride[axis] = step
        step = step * max(shape[axis], 1) + (variant in (STRIDED, ROWS))
    offset = _WINDOW // spec.itemsize if variant == OFFSET else 0
    address = spec.data_ptr_mod_512 if variant == CONTIGUOUS else 0
    shift = _SHIFT.fullmatch(variant)
    if shift:
        address = -(-int(shift[1]) // spec.itemsize) * spec.itemsize % _WINDOW
    return TensorSpec(
        dtype=spec.dtype, shape=shape, stride=tuple(stride), storage_offset=offset, data_ptr_mod_512=address, device=spec.device
    )


def _shared(specs: Mapping[str, TensorSpec], names: list[str]) -> dict[str, TensorSpec]:
    """These tensors one after another in one storage. Each starts at a multiple of 512, so that sharing is all that is new."""
    group, used = ALIASED, {spec.alias_group for spec in specs.values()}
    while group in used:
        group += "'"
    placed, end = {}, 0
    for name in names:
        spec = specs[name]
        placed[name] = TensorSpec.contiguous(
            spec.dtype, spec.shape, storage_offset=end // spec.itemsize, device=specs[names[0]].device, alias_group=group
        )
        end = -(-(end + spec.nbytes) // _WINDOW) * _WINDOW
    return placed
