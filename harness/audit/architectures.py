"""Will a fat binary run on a given GPU? By NVIDIA's compatibility rules for cubins and PTX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.audit.model import Binary, FatBinary, Image, Verdict
from harness.errors import UsageError

_GPU = re.compile(r"(?:sm_)?(\d{2,3})[af]?|(\d{1,2})\.(\d)", re.ASCII)
_TEGRA = (53, 62, 72, 87)  # no binary compatibility between them and the desktop GPUs of their generation


def parse_gpu(text: str) -> int:
    """120 for "sm_120", "120" and "12.0". Raises ``UsageError``."""
    found = _GPU.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"--gpu {text}: must be a compute capability such as sm_120 or 12.0")
    return int(found[1]) if found[1] else int(found[2] + found[3])


def runs(image: Image, gpu: int) -> bool:
    """Whether the driver can use an image for a GPU: a cubin as it is, PTX by compiling it."""
    if image.suffix == "a":
        return image.sm == gpu
    same_family = image.sm // 10 == gpu // 10 and image.sm <= gpu
    if image.kind == "cubin":
        return image.sm == gpu or (same_family and gpu not in _TEGRA and image.sm not in _TEGRA)
    return image.kind == "ptx" and (same_family if image.suffix == "f" else image.sm <= gpu)


def verdicts(binaries: Sequence[Binary], gpu: int | None) -> list[Verdict]:
    return [_verdict(b, gpu) for b in binaries if any(_launchable(fat) for fat in b.fat_binaries)]


def _launchable(fat: FatBinary) -> bool:
    """Has, or may have, kernels of its own: the container of a device link that linked nothing has not."""
    return not fat.relocatable and any(image.kernels is None or image.kernels for image in fat.images)


def _verdict(binary: Binary, gpu: int | None) -> Verdict:
    wanted = [fat for fat in binary.fat_binaries if _launchable(fat)]
    has = ", ".join(sorted({image.arch for fat in wanted for image in fat.images}))
    if gpu is None:
        newer = "and PTX for later ones" if all(_ptx(fat) for fat in wanted) else "and no PTX, so on no later generation of GPUs"
        return Verdict("architectures", "ok", f"{binary.name}: has {has}, {newer}")
    ready = [any(image.kind == "cubin" and runs(image, gpu) for image in fat.images) for fat in wanted]
    jit = [any(runs(image, gpu) for image in _ptx(fat)) for fat in wanted]
    without = sum(not (r or j) for r, j in zip(ready, jit, strict=True))
    if without:
        part = "" if without == len(wanted) else f"{without} of its {len(wanted)} fat binaries: "
        what = f'{binary.name}: {part}"no kernel image is available" (209) on sm_{gpu}: it has {has}'
        fix = f'rebuild with sm_{gpu}, for torch extensions TORCH_CUDA_ARCH_LIST="{_dotted(gpu)}+PTX"'
        return Verdict("architectures", "fail", what, fix)
    if all(ready):
        return Verdict("architectures", "ok", f"{binary.name}: has code for sm_{gpu} ({has})")
    isa = max((image.isa for fat in wanted for image in _ptx(fat)), key=lambda v: [int(n) for n in v.split(".")])
    what = f"{binary.name}: no code for sm_{gpu}, but PTX {isa} that the driver compiles at the first use ({has})"
    fix = f'slow first start, and a driver older than that PTX refuses it (222): rebuild with TORCH_CUDA_ARCH_LIST="{_dotted(gpu)}"'
    return Verdict("architectures", "warn", what, fix)


def _ptx(fat: FatBinary) -> list[Image]:
    return [image for image in fat.images if image.kind == "ptx"]


def _dotted(gpu: int) -> str:
    return f"{gpu // 10}.{gpu % 10}"
