"""The account of a run as text: for a terminal, a pipe or a log."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from framework.explaining.account import Account
from framework.explaining.advice import advice
from framework.launching import view

GREW = 2.0
MOST_SCORES = 8
TIMES = "times/"


def show(found: Account, console: Console, steps: int) -> None:
    """Print what happened, the last `steps` recorded, where to look and what to try."""
    console.print(_headline(found), soft_wrap=True)
    for name, text in _facts(found):
        console.print(Text(f"{name:<9}", "bold"), Text(text), sep=" ", soft_wrap=True)
    if found.flight:
        console.print()
        console.print(_table(found, steps))
    if found.state == "failed" or (found.state != "done" and not found.flight):
        _list(console, "its last lines", found.log)
    _list(console, "to try", advice(found))
    _list(console, "where to look", _places(found))


def _headline(found: Account) -> Text:
    beat = found.beat
    step = beat.get("diverged_step") if found.state == "diverged" else beat.get("step")
    of = f" of {beat['steps']}" if beat.get("steps") else ""
    where = f" at step {step}{of}" if step is not None else ""
    took = view.duration(float(beat.get("seconds") or 0.0))
    host = f" on {beat['host']}" if beat.get("host") else ""
    text = f"{found.directory}: {found.state}{where}, after {took} of training{host}"
    return Text(text, view.STYLES.get(found.state, ""))


def _facts(found: Account) -> list[tuple[str, str]]:
    facts = []
    if found.cause:
        facts.append(("cause", found.cause))
    if found.origin:
        facts.append(("first", found.origin))
    if found.state == "diverged" and found.broken:
        facts.append(("then", " > ".join(found.broken)))
    if found.skipped:
        facts.append(("skipped", f"{found.skipped} of {len(found.flight)} recorded updates, whose "
                      "gradient overflowed fp16"))  # fmt: skip
    grown = {n: f for n, f in found.growth().items() if f >= GREW} if found.flight else {}
    if grown and found.state == "diverged":
        ordered = sorted(grown.items(), key=lambda item: -item[1])
        facts.append(("grew", ", ".join(f"{n} {f:.3g}-fold" for n, f in ordered) + ", to the last "
                      "finite step from the median of those before"))  # fmt: skip
    if found.damage:
        facts.append(("results", found.damage))
    scores = [f"{name} {value:.4g}" for name, value in found.scores.items()][:MOST_SCORES]
    if scores:
        facts.append(("scores", ", ".join(scores)))
    return facts


def _table(found: Account, count: int) -> Table:
    """The last recorded steps, oldest first; drawn times as mean [least, most]."""
    steps = found.flight[-count:]
    names = [n for n in steps[-1] if n != "step" and not n.startswith(TIMES)]
    names.sort(key=lambda n: (n != "loss/total", not n.startswith("loss/"), n))
    times = [n for n in ("t", "s") if f"{TIMES}{n}_mean" in steps[-1]]
    title = f"the last {len(steps)} of {len(found.flight)} recorded steps"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    heads = [name.removeprefix("loss/") for name in names]
    for head in ["step", *heads, *(f"{n} drawn" for n in times)]:
        table.add_column(head, justify="right", no_wrap=True)
    for step in steps:
        cells = [Text(_number(step[n]), "" if math.isfinite(step[n]) else "bold") for n in names]
        drawn = [Text(_drawn(step, n)) for n in times]
        table.add_row(Text(str(int(step["step"]))), *cells, *drawn)
    return table


def _drawn(step: dict[str, float], name: str) -> str:
    mean, least, most = (step[f"{TIMES}{name}_{kind}"] for kind in ("mean", "min", "max"))
    return f"{mean:.2f} [{least:.2f}, {most:.2f}]"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _places(found: Account) -> list[str]:
    files = {
        "log.txt": "its log",
        "output.txt": "what it printed",
        "config.gin": "its whole configuration",
        "results.h5": "its numbers" + (", /flight_recorder its last steps" if found.flight else ""),
        "samples.png": "its last pictures",
    }
    there = [(found.directory / name, what) for name, what in files.items()]
    return [f"{path}  {what}" for path, what in there if path.exists()]


def _list(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(Text(f"\n{title}", "bold"))
        for line in lines:
            console.print(Text(f"  {line}"), soft_wrap=True)
