"""Times of what runs on a GPU, by the GPU's own clock."""

from collections.abc import Callable

import torch

MIB = 2**20


def median_milliseconds(run: Callable[[], object], *, milliseconds: float = 150.0) -> float:
    """Median over calls between GPU events, the L2 cache cleared before each.

    Calls are queued without waiting, as in training: the host runs ahead of the GPU.
    """
    cache = torch.empty(256 * MIB, dtype=torch.int8, device="cuda")

    def queue(calls: int) -> list[float]:
        events = []
        for _ in range(calls):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            cache.zero_()
            begin.record()
            run()
            end.record()
            events.append((begin, end))
        torch.cuda.synchronize()
        return sorted(begin.elapsed_time(end) for begin, end in events)

    estimate = queue(5)[2]
    times = queue(max(5, min(200, int(milliseconds / estimate))))
    return times[len(times) // 2]
