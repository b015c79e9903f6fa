"""What to try with a run that ended badly: short, and only what its record supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.explaining.account import Account

EARLY = 20  # steps: what breaks so soon never trained
GREW = 10.0  # a factor that is no noise


def advice(found: Account) -> list[str]:
    """Return what to try, most promising first."""
    if found.state == "diverged":
        return _diverged(found)
    if found.state == "failed":
        return ["mend what the log names; then the same command goes on from the last checkpoint:",
                f"  {found.command()}"]  # fmt: skip
    if found.state == "stopped":
        return ["the same command goes on from the last checkpoint:", f"  {found.command()}"]
    return []


def _diverged(found: Account) -> list[str]:
    settings, growth = found.settings, found.growth()
    step = int(found.beat.get("diverged_step") or 0)
    grown = [name for name, factor in growth.items() if factor >= GREW]
    tried = _learning_rate(settings, step)
    if settings.get("train.clip_norm") is None:
        clip = "train.clip_norm = 1.0: a bound on the gradient (there is none)"
        tried.insert(0 if "gradient_norm" in grown and "jvp_norm" not in grown else 1, clip)
    if "jvp_norm" in grown or "tangent" in found.origin:
        tried.insert(0, "the tangent grew first: shorter jumps (the time sampler), norms that bound"
                     " it (normalization, qk_norm, modulation_norm), or detach_jvp")  # fmt: skip
    if settings.get("train.precision") in ("bf16", "fp16"):
        tried.append("train.precision = 'fp32': whether it is rounding")
    if step > EARLY and any("target" in name and name.endswith("decay") for name in settings):
        tried.append("a slower average of the target weights (target_decay nearer to 1)")
    return tried[:4]


def _learning_rate(settings: Mapping[str, Any], step: int) -> list[str]:
    rates = {n: v for n, v in settings.items() if n.startswith("optimizers.") and n.endswith(".lr")}
    early = ", or a schedule that warms up" if step <= EARLY else ""
    return [
        f"{name} = {float(value) / 10:g}: a tenth of the learning rate{early}"
        for name, value in rates.items()
        if isinstance(value, int | float)
    ]
