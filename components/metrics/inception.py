"""The Inception network whose features the field's FID is computed from."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework import UserError

FEATURES = 2048
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
BATCH = 64


class Inception:
    """TensorFlow's Inception of 2015-12-05 through torch-fidelity ("inception-v3-compat").

    Nothing is downloaded. The weights are read when first needed, and no code in them runs.

    Args:
        weights: their file; where torch.hub keeps it if None.
        device: where it computes; a GPU if there is one.

    Raises:
        UserError: the weights are not there, or torch-fidelity cannot be imported.
    """

    def __init__(self, weights: str | None = None, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._path = _located(weights)
        self._build = _builder()

    @cached_property
    def hash(self) -> str:
        """Eight hexadecimal digits that stand for the weights."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:8]

    @cached_property
    def _network(self) -> Any:
        copied = io.BytesIO()  # what torch-fidelity gets to load was loaded with weights_only
        try:
            torch.save(torch.load(self._path, map_location="cpu", weights_only=True), copied)
            copied.seek(0)
            network = self._build(
                "inception-v3-compat", [str(FEATURES)], feature_extractor_weights_path=copied
            )
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, AttributeError) as error:
            raise UserError(
                f"{self._path} does not hold the weights of inception-v3-compat: fetch {URL} again"
            ) from error
        return network.to(self.device)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return features (B, 2048) float64 of pictures uint8 (B, H, W, 1 or 3)."""
        parts = []
        for part in images.split(BATCH):
            colour = part.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).contiguous()
            parts.append(self._network(colour.to(self.device))[0].double().cpu())
        return torch.cat(parts)


def _located(weights: str | None) -> Path:
    home = os.environ.get("TORCH_HOME")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torch")
    path = Path(weights or Path(home, "hub", "checkpoints", WEIGHTS)).expanduser()
    if path.is_file():
        return path
    raise UserError(
        f"FID needs the Inception weights, and there are none at {path}: fetch {URL} and put it "
        "there, or set metrics.frechet_inception_distance.weights to its file"
    )


def _builder() -> Any:
    """Return torch-fidelity's class of the network."""
    try:
        return import_module("torch_fidelity").FeatureExtractorInceptionV3
    except ImportError as error:
        raise UserError(
            f"FID needs torch-fidelity ({error}): pip install torch-fidelity, which brings "
            "torchvision: take the one that fits your torch"
        ) from error
