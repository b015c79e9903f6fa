"""Recognising a network of the released code: its settings here, and its weights by our names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from components.checks import require
from components.models.positions import sin_cos_positions
from components.models.release_names import from_release
from framework import UserError
from framework.configuration import Reference, Value
from framework.importing import Instance, find_module, parameters

NETWORKS = {"net": "trained", "ema": "evaluation", "ema_target": "target"}
"""What holds which weights: `net` alone in a released checkpoint, all three in a training state."""

_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 18}
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Released:
    """A released network: settings that follow from it, its data's shape, and its weights."""

    settings: Mapping[str, Value]
    shape: tuple[int, int, int]
    num_classes: int
    weights: Mapping[str, Tensor]


def networks(content: object) -> dict[str, Released]:
    """Return the networks of a released file by what they are: trained, evaluation, target.

    Args:
        content: what `framework.importing` read from the file.

    Raises:
        UserError: there is none, or one is not of the released form.
    """
    held = content if isinstance(content, dict) else {}
    found = {
        NETWORKS[name]: recognise(value)
        for name, value in held.items()
        if name in NETWORKS and isinstance(value, Instance)
    }
    if not found:
        shown = ", ".join(map(str, list(held)[:6])) or type(content).__name__
        raise UserError(f"it holds no network under 'net' or 'ema'; it holds {shown}")
    return found


def recognise(network: Instance) -> Released:
    """Return what a released network is.

    Raises:
        UserError: a parameter is unknown or missing, or shapes do not fit together.
    """
    theirs = {name.removeprefix("model."): value for name, value in parameters(network).items()}
    try:
        weights = {name: value.float() for name, value in from_release(theirs).items()}
        settings, shape = _architecture(network, theirs)
        classes = len(theirs["y_embedder.embedding_table.weight"]) - 1
        _check_positions(theirs.get("pos_embed"), shape, settings)
    except KeyError as error:
        raise UserError(f"it holds no network of the release: {error} does not fit") from error
    except (ValueError, IndexError, TypeError, ZeroDivisionError, RuntimeError) as error:
        raise UserError(f"it holds no network of the release: {error}") from error
    label_dim = _attribute(network, "label_dim")
    require(
        label_dim in (None, classes),
        f"it says label_dim = {label_dim}, and its embedding has {classes} classes",
    )
    return Released(settings, shape, classes, weights)


def _architecture(
    network: Instance, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Value], tuple[int, int, int]]:
    """Return settings of `models.dit` and of the loss, and the shape (C, R, R) of an example."""
    hidden, channels, patch, _ = weights["x_embedder.proj.weight"].shape
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    require(depth > 0, "it has no blocks")
    settings: dict[str, Value] = {
        "models.dit.hidden_size": hidden,
        "models.dit.depth": depth,
        "models.dit.num_heads": _heads(network, weights, hidden),
        "models.dit.patch_size": patch,
        "models.dit.mlp_ratio": len(weights["blocks.0.mlp.fc1.weight"]) // hidden,
        "models.dit.guidance_embedding": "guidance_embedder.mlp.0.weight" in weights,
    }
    if "blocks.0.attn.q_norm.weight" not in weights:
        settings["models.dit.qk_norm"] = Reference("", "qk_norms.none")
    scaled = _attribute(network, "do_scale_param")
    if isinstance(scaled, bool):
        flow_map = "flow_maps.scaled" if scaled else "flow_maps.plain"
        settings["losses.tvm.flow_map"] = Reference("", flow_map, evaluate=True)
    said = _attribute(network, "img_channels")
    require(said in (None, channels), f"it says {said} channels, and its weights have {channels}")
    resolution = _resolution(network, weights, patch)
    return settings, (channels, resolution, resolution)


def _heads(network: Instance, weights: Mapping[str, Tensor], hidden: int) -> int:
    """Return the number of heads: from the head size, the attention's attribute, or the paper."""
    scale = weights.get("blocks.0.attn.q_norm.weight")
    said = _attribute(network, "num_heads")
    heads = hidden // len(scale) if scale is not None and len(scale) else said
    if isinstance(heads, int) and heads > 0:
        return heads
    if hidden not in _HEADS:
        raise UserError(f"it does not say how many heads share its hidden size {hidden}")
    return _HEADS[hidden]


def _resolution(network: Instance, weights: Mapping[str, Tensor], patch: int) -> int:
    said = _attribute(network, "img_resolution")
    if "pos_embed" in weights:
        rows = math.isqrt(weights["pos_embed"].shape[-2])
        require(
            said in (None, rows * patch),
            f"it says img_resolution = {said}, and its positions are of {rows * patch}",
        )
        return rows * patch
    if not isinstance(said, int) or said < 1:
        raise UserError("it says neither img_resolution nor pos_embed")
    return said


def _check_positions(
    positions: Tensor | None, shape: tuple[int, int, int], settings: Mapping[str, Value]
) -> None:
    """Compare the file's positions with those that our model computes."""
    if positions is None:
        return
    rows = shape[1] // settings["models.dit.patch_size"]
    ours = sin_cos_positions(rows, rows, settings["models.dit.hidden_size"])
    theirs = positions.float().reshape(-1, positions.shape[-1])
    require(
        ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=_ROUNDING),
        "its positions are not the fixed sin-cos ones of models.dit",
    )


def _attribute(network: Instance, name: str) -> object:
    holder = find_module(network, name)
    return None if holder is None else holder.state[name]
