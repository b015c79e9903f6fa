"""Which draws an arm may change: what it binds says so.

Arms of one seed share every draw but those that their switch changes; a comparison is paired only
as far as they do. By the kind of the component whose setting differs, or that is exchanged:

| what differs | what may change |
|---|---|
| a part of the network, its initializer | initial weights of parameters that both have |
| time sampler | times |
| guidance | classes and weights |
| loss | times, classes and weights |
| dataset | everything |
| train.batch_size | data, noise, times, classes and weights |
| optimizer, schedule, average, flow map, sampler, metric, other settings of train and evaluation |
  nothing |

A setting of `train` that this table does not know may change everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from framework.configuration import Resolved, text
from framework.configuration.roots import Root
from framework.probing.fingerprints import DATA, GUIDANCE, INITIAL, LATENTS, NOISE, TIMES

WATCHED = (DATA, NOISE, LATENTS, INITIAL, TIMES, GUIDANCE)

_NETWORK = (
    "model", "time_embedding", "second_time", "normalization", "modulation_norm", "qk_norm",
    "initializer", "attention",
)  # fmt: skip
_OF_KIND: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_NETWORK, frozenset({INITIAL})),
    "time_sampler": frozenset({TIMES}),
    "guidance": frozenset({GUIDANCE}),
    "loss": frozenset({TIMES, GUIDANCE}),
    "dataset": frozenset(WATCHED),
}
_OF_SETTING: Mapping[str, frozenset[str]] = {
    "train.batch_size": frozenset({DATA, NOISE, TIMES, GUIDANCE}),
    **dict.fromkeys(
        (
            "train.steps",
            "train.device",
            "train.precision",
            "train.compile",
            "train.deterministic",
            "train.clip_norm",
            "train.checkpointing",
            "train.accumulation",
            "train.cuda_graphs",
            "train.keep_heads",
            "train.keep_weights",
            "train.workspaces",
            "train.distribution",
        ),
        frozenset(),
    ),
    "train.start": frozenset({INITIAL}),
}


def differing(one: Resolved, other: Resolved) -> list[str]:
    """Return the settings that two runs do not share, without those of their records."""
    mine, others = _texts(one), _texts(other)
    return [name for name in {**mine, **others} if mine.get(name) != others.get(name)]


def shown(one: Resolved, other: Resolved, most: int = 3) -> str:
    """Return 'losses.tvm.target_decay = 0.9 (not 0.99)' for what two runs do not share."""
    mine, others = _texts(one), _texts(other)
    names = differing(one, other)
    parts = [
        f"{name} = {mine[name]}" + (f" (not {others[name]})" if name in others else "")
        for name in names
        if name in mine
    ]
    rest = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + rest


def kinds_of(run: Resolved, names: Iterable[str]) -> set[str]:
    """Return the kinds of component that settings belong to or choose."""
    return {kind for name in names for kind in _kinds(run, name)}


def may_change(one: Resolved, other: Resolved) -> frozenset[str]:
    """Return the groups of draws in which two runs may differ, given their settings."""
    allowed: set[str] = set()
    for name in differing(one, other):
        run = one if name in one.settings else other
        kinds = _kinds(run, name)
        for kind in kinds:
            allowed |= _OF_KIND.get(kind, frozenset())
        if not kinds and name.startswith("train."):
            allowed |= _OF_SETTING.get(name, frozenset(WATCHED))
    return frozenset(allowed)


def _kinds(run: Resolved, name: str) -> list[str]:
    """Return the kinds that a setting may choose, or else its component's; none for a root's."""
    for node in run.nodes:
        for setting in node.values:
            if node.name(setting) == name:
                chosen = [kind.name for kind in node.target.settings[setting].kinds()]
                own = [] if isinstance(node.target, Root) else [node.target.kind.name]
                return chosen or own
    return []


def _texts(run: Resolved) -> dict[str, str]:
    return {
        name: text(value)
        for name, value in run.settings.items()
        if not name.startswith(("run.", "logging.", "launch.")) and name != "train.seed"
    }
