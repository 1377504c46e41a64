"""The bytes of a case's tensors file, filled straight from the tracker's tensors: one copy each, pinned memory for a GPU's.

No kernel is launched for what lies on a GPU: its memory is copied as it lies, on the current stream, and put into order on the
host. So no error that waits for the next launch check is taken away from the tracker, its memory pool stays as it is, and the only
synchronisation is the one wait for the copies, for the current stream of the devices that the tensors are on.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness import tensorfile
from harness.case import CARRIERS, TensorSpec
from harness.record.inputs import NotRecordable, loaded_torch

MAX_SPAN_BYTES = 256 << 20
"""More than this is not copied to get at the few values between which it lies; a kernel of torch's gathers them on the GPU."""


class Staging:
    """A buffer that holds one tensors file, and is used again for the next of the same types and shapes. For one thread."""

    def __init__(self) -> None:
        self._key: Any = None
        self._buffer: Any = None
        self._offsets: dict[str, tuple[int, int]] = {}

    def fill(self, tensors: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> tuple[memoryview, tuple[str, ...]]:
        """The tensors file, valid until the next ``fill``, and tags for what had to be changed to make it one.

        Raises what torch raises when the GPU cannot be read, and ``NotRecordable`` while a CUDA graph is captured.
        """
        torch = loaded_torch()
        # Buffers that outlive a caller's inference mode must not be made in it; and no gradient wants to know of a copy.
        with torch.inference_mode(False), torch.no_grad():
            devices = {tensor.device for tensor in tensors.values() if tensor.device.type == "cuda"}
            if devices and torch.cuda.is_current_stream_capturing():
                raise NotRecordable("a CUDA graph is being captured, in which nothing can be copied to the host")
            self._prepare(torch, specs, pinned=bool(devices))
            gathered = []
            for name, tensor in tensors.items():
                start, end = self._offsets[name]
                if start != end:
                    gathered.append(_copy(torch, tensor, self._buffer[start:end]))
            for device in devices:
                torch.cuda.current_stream(device).synchronize()
            for late in filter(None, gathered):
                late()
        return memoryview(self._buffer.numpy()), self._tidy_masks(specs)

    def _prepare(self, torch: Any, specs: Mapping[str, TensorSpec], pinned: bool) -> None:
        key = (pinned, tuple((name, spec.dtype, spec.shape) for name, spec in specs.items()))
        if key == self._key:
            return
        template = tensorfile.pack(specs, {name: np.zeros(spec.shape, CARRIERS[spec.dtype]) for name, spec in specs.items()})
        (length,) = struct.unpack_from("<Q", template)
        header = json.loads(template[8 : 8 + length])
        self._offsets = {name: tuple(8 + length + at for at in entry["data_offsets"]) for name, entry in header.items()}
        self._buffer = torch.empty(len(template), dtype=torch.uint8, device="cpu", pin_memory=pinned)
        self._buffer.numpy()[...] = np.frombuffer(template, np.uint8)
        self._key = key

    def _tidy_masks(self, specs: Mapping[str, TensorSpec]) -> tuple[str, ...]:
        """A bool of another byte than 0 and 1 is no valid file. It is true all the same, and becomes 1; a tag says so."""
        tags = []
        for name, spec in specs.items():
            start, end = self._offsets[name]
            values = self._buffer.numpy()[start:end]
            if spec.dtype == "bool" and values.size and values.max() > 1:
                np.minimum(values, 1, out=values)
                tags.append(f"mask-bytes-above-1:{name}")
        return tuple(tags)


def _copy(torch: Any, tensor: Any, target: Any) -> Any:
    """Start copying a tensor's bits in C order. Returns what is left to do once the device is done, or None."""
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    source = tensor.view(bits)  # bits, not numbers: a signalling NaN must stay the NaN it was
    target = target.view(bits).view(tensor.shape)
    if source.device.type == "cpu":
        target.numpy()[...] = source.numpy()  # in this thread: torch would wake a team of them for a copy of a millisecond
        return None
    n = 1 + sum((size - 1) * step for size, step in zip(source.shape, source.stride(), strict=True))
    if source.is_contiguous() or n * source.element_size() > MAX_SPAN_BYTES:
        target.copy_(source, non_blocking=True)
        return None
    span = torch.empty(n, dtype=bits, device="cpu", pin_memory=True)
    span.copy_(torch.as_strided(source, (n,), (1,), source.storage_offset()), non_blocking=True)
    return lambda: target.copy_(torch.as_strided(span, source.shape, source.stride(), 0))
