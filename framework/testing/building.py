"""Building a component at a small size, with stand-ins for what it is given and needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from framework import registry
from framework.errors import UserError, nearest
from framework.kinds import Kind
from framework.protocols import Examples
from framework.registry import Component
from framework.settings import Setting

BATCH = 4
HIDDEN = 16
CLASSES = 4
SHAPE = (1, 8, 8)


class Embedding(nn.Module):
    """A time embedding: (B,) to (B, HIDDEN)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, HIDDEN)

    def forward(self, time: Tensor) -> Tensor:
        """Return a linear map of the time."""
        out: Tensor = self.layer(time[:, None])
        return out


class Pictures:
    """A dataset of random pictures, or points, whose class is their mean's."""

    name = "pictures"

    def __init__(
        self, count: int = 64, shape: tuple[int, ...] = SHAPE, num_classes: int = CLASSES
    ) -> None:
        self.shape, self.num_classes = shape, num_classes
        generator = torch.Generator().manual_seed(0)
        self._labels = torch.arange(count) % num_classes
        noise = torch.randn(count, *shape, generator=generator)
        self._x = noise + self._labels.view(-1, *[1] * len(shape))

    def __len__(self) -> int:
        return len(self._labels)

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return the examples of some indices."""
        return Examples(self._x[indices], self._labels[indices])

    def labels(self) -> Tensor:
        """Return all labels."""
        return self._labels

    def held_out(self) -> Examples:
        """Return the last examples."""
        return Examples(self._x[-self.num_classes :], self._labels[-self.num_classes :])

    def images(self, x: Tensor) -> Tensor:
        """Return pictures as bytes."""
        return (x.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)


def parameters() -> list[tuple[str, nn.Parameter]]:
    """Return a matrix and a vector, named, as an optimizer gets them."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator)
    return [("weight", nn.Parameter(draw(8, 8))), ("bias", nn.Parameter(draw(8)))]


_GIVEN: dict[str, Callable[[], Any]] = {
    "hidden_size": lambda: HIDDEN,
    "embedding": lambda: Embedding,
    "dim": lambda: 8,
    "shape": lambda: SHAPE,
    "num_classes": lambda: CLASSES,
    "parameters": parameters,
    "dataset": Pictures,
}


def stand_ins(kind: Kind) -> dict[str, Any]:
    """Return what a component of a kind is built with, by argument."""
    return {name: _GIVEN[name]() for name in kind.given}


def settle(part: object) -> None:
    """Give a part of a network values as a model does: weights drawn, biases 0, scales 1."""
    if not isinstance(part, nn.Module):
        return
    for name, parameter in part.named_parameters():
        if parameter.dim() >= 2:
            nn.init.normal_(parameter, std=0.1)
        else:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    for module in part.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


def build(component: Component, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return an instance and what it was given.

    Raises:
        UserError: an argument is not one of its own or of a wrong type, or a required setting is
            missing.
    """
    kind = component.kind
    known = [*kind.given, *component.settings]
    stray = next((name for name in arguments if name not in known), None)
    if stray is not None:
        raise UserError(f"{component.selector} has no setting '{stray}'{nearest(stray, known)}")
    for name, setting in component.settings.items():
        problem = setting.problem(arguments[name]) if name in arguments else None
        if problem:
            raise UserError(f"{component.selector}.{name} = {arguments[name]!r}: {problem}")
    given = {name: arguments.get(name, found) for name, found in stand_ins(kind).items()}
    settings = {name: value for name, value in arguments.items() if name in component.settings}
    torch.manual_seed(0)
    return component.build(**given, **_settings(component, settings)), given


def _settings(
    component: Component, chosen: dict[str, Any], around: tuple[Component, ...] = ()
) -> dict[str, Any]:
    """Return settings with the first component that fits for every one that is needed.

    `around` are the components that are being built around this one.
    """
    settings, inside = dict(chosen), (*around, component)
    missing = []
    for setting in component.settings.values():
        if setting.required and setting.name not in settings:
            found = next(_candidates(setting, inside), None)
            if found is None:
                missing.append(setting.name)
                continue
            build = partial(found.build, **_settings(found, {}, inside))
            settings[setting.name] = build if found.kind.given else build()
    if missing:
        raise UserError(f"{component.selector} needs {', '.join(missing)}: pass them to the check")
    return settings


def _candidates(setting: Setting, inside: tuple[Component, ...]) -> Iterator[Component]:
    """Yield registered components for a setting that need nothing but other components.

    Those that are being built around it (`inside`) do not count: a sampler around a sampler would
    otherwise stand in for its own.
    """
    for kind in setting.kinds():
        for component in registry.components(kind.name):
            outer = (*inside, component)
            needed = [s for s in component.settings.values() if s.required]
            if component not in inside and all(any(_candidates(s, outer)) for s in needed):
                yield component
