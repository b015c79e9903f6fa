"""The cases of bench_step.py: a size and a method, with the figures that stand beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

Figures = tuple[float | None, float | None]
"""Milliseconds and GB of a step; None where nothing is known."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    `released` is the released code on an H100 (PAPER.md), `first` a first compiled version there,
    `reach` what is asked for and `dream` what is hoped for. With `runs` the case is packed: so
    many processes of it share the GPU, and steps are counted in windows with 1, 2, 4, ... of them
    at work.
    """

    settings: tuple[str, ...]
    released: Figures = (None, None)
    first: Figures = (None, None)
    reach: Figures = (None, None)
    dream: Figures = (None, None)
    steps: int = 12
    runs: int = 0


def dit(hidden: int, depth: int, heads: int) -> tuple[str, ...]:
    """Return the bindings of a transformer's size."""
    sizes = {"hidden_size": hidden, "depth": depth, "num_heads": heads}
    return tuple(f"models.dit.{name} = {value}" for name, value in sizes.items())


def latents(size: int, batch: int) -> tuple[str, ...]:
    """Return the bindings of random latents."""
    return (f"datasets.random_latents.size = {size}", f"train.batch_size = {batch}")


def rival(loss: str) -> tuple[str, ...]:
    """Return the bindings of another loss, without guidance."""
    return (
        f"train.loss = @losses.{loss}()",
        f"losses.{loss}.time_sampler = @time_samplers.gap_star()",
        f"losses.{loss}.guidance = @guidances.constant()",
        "guidances.constant.weight = 1.0",
    )


LARGE = ("train.workspaces = False",)
XL = (*dit(1152, 28, 18), *latents(32, 32), *LARGE)
B = (*dit(768, 12, 12), *latents(32, 64), *LARGE, "train.keep_heads = True")
DETACHED = ("losses.tvm.detach_jvp = True", "train.keep_weights = False")
SMALL = (*dit(48, 3, 3), "datasets.random_latents.channels = 1", *latents(8, 64))
EAGER = ("train.compile = False",)
LAUNCHED = ("train.cuda_graphs = False",)

PACKED = 16

_XL = Case(XL, (985, 71.9), (282, 48.2), (235, 36), (190, None))
_B = Case(B, (529, 35.7), (113, 23.6), (90, 18), (75, None))
CASES = {
    "xl2": _XL,
    "b2": _B,
    "xl2_detached": Case((*XL, *DETACHED), (738, 53.2), reach=(190, 28)),
    "xl2_512": Case((*XL, *latents(64, 8)), (1049, 71.8), (311, 48.2), (250, 36), (200, None)),
    "xl2_mean_flow": Case((*XL, *rival("mean_flow"))),
    "xl2_flow_matching": Case(
        (*XL, *rival("flow_matching"), "losses.flow_matching.flow_map = @flow_maps.scaled()")
    ),
    "xl2_launched": replace(_XL, settings=(*XL, *LAUNCHED)),
    "b2_launched": replace(_B, settings=(*B, *LAUNCHED)),
    "small": Case(SMALL, steps=300),
    "small_launched": Case((*SMALL, *LAUNCHED), steps=100),
    "small_eager": Case((*SMALL, *EAGER), steps=300),
    "small_eager_launched": Case((*SMALL, *EAGER, *LAUNCHED), steps=100),
    "packed": Case((*SMALL, *EAGER), runs=PACKED),
    "packed_launched": Case((*SMALL, *EAGER, *LAUNCHED), runs=PACKED),
}
# In the order of importance. Those of a group compile together and then measure in turn; only the
# first one's time to a first step is that of a machine to itself.
GROUPS = (
    "xl2",
    "b2,xl2_detached",
    "xl2_512,xl2_mean_flow,xl2_flow_matching",
    "xl2_launched,b2_launched",
    "small,small_launched,small_eager,small_eager_launched",
    "packed",
    "packed_launched",
)
TINY = (*dit(48, 2, 3), "train.batch_size = 4")


def gin_text(case: Case, extra: list[str], tiny: bool) -> str:
    """Return a run's configuration: the paper's settings at the case's size."""
    lines = {
        "train.dataset": "@datasets.random_latents()",
        "train.steps": "100000",
        "train.precision": "'bf16'",
        "train.compile": "True",
        "train.cuda_graphs": "True",
        "guidances.constant.weight": "2.0",
        "evaluation.metrics": "()",
    }
    for binding in (*case.settings, *(TINY if tiny else ()), *extra):
        name, _, value = binding.partition("=")
        lines[name.strip()] = value.strip()
    return "\n".join(["include 'gin/defaults.gin'", *(f"{n} = {v}" for n, v in lines.items())])
