"""What a compiled step keeps for its backward pass, and what its kernels store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config

from framework.training.graph_kept import Kept
from framework.training.graph_passes import LeanGraph


@contextmanager
def lean_graphs(
    keep_heads: bool = False, keep_weights: bool = True, combined: bool = True
) -> Iterator[None]:
    """Compile so that the backward pass keeps little and that kernels move little.

    Kept are the results of matrix products and attention, and what else is small and in memory
    whole. Everything else is elementwise or a reduction over a token: the backward pass's own
    kernels compute it again from what they read anyway. A block of the paper's XL/2 then keeps
    364 MiB of its 32 images with their tangents instead of 842. For the same reason the compiler
    stores no intermediate that several kernels of a graph could compute from what they read: 8 %
    less of that block's memory traffic. Nor does it try block shapes of elementwise kernels: what
    they gain is less than the noise of a step.

    Args:
        keep_heads: whether normalised queries and keys are kept too.
        keep_weights: whether weights are kept in the type that products take.
        combined: whether small kernels that do not wait for each other are one: of the 75 of that
            block's passes 31 are left. The compiler cannot do so with every graph.
    """
    keeping: dict[str, float] = {"aggressive_recomputation": True}
    if not hasattr(functorch_config, "aggressive_recomputation"):
        keeping = {"activation_memory_budget": 0.99}  # as far as it goes without custom kernels
    compiling = {
        "joint_custom_pre_pass": LeanGraph(Kept(keep_heads, keep_weights)),
        "realize_reads_threshold": 12,
        "realize_opcount_threshold": 200,
        "realize_acc_reads_threshold": 32,
        "triton.autotune_pointwise": False,
        "combo_kernels": combined,
    }
    with functorch_config.patch(keeping), inductor_config.patch(compiling):
        yield
