"""The time of a launch on the device, without what the host adds: a graph of many, replayed."""

from __future__ import annotations

import statistics
from collections.abc import Callable


def device_us(launch: Callable[[int], None], launches: int = 20, replays: int = 15) -> float:
    """Microseconds of one ``launch(stream)``, the gap to the next included: the median over replays of a graph of ``launches``."""
    import torch

    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(launches):
            launch(torch.cuda.current_stream().cuda_stream)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    for _ in range(replays + 1):
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(1e3 * begin.elapsed_time(end) / launches)
    return statistics.median(times[1:])
