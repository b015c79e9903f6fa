"""The autoencoder between images and latents: Stable Diffusion's, or another AutoencoderKL."""

from __future__ import annotations

import os
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from components.checks import require
from framework import UserError

STABLE_DIFFUSION = "stabilityai/sd-vae-ft-ema"
_DECODED_AT_ONCE = 16
_CONFIG = "config.json"


class Autoencoder:
    """An AutoencoderKL of diffusers from a folder or from the hub's cache; nothing is downloaded.

    It computes in float16 on a GPU, as the release does, and in float32 elsewhere. Its weights are
    read when first needed.

    Args:
        source: a folder with config.json, or a name on the hub such as stabilityai/sd-vae-ft-ema.
        device: where it computes; a GPU if there is one.

    Raises:
        UserError: diffusers is not installed, or the source is in neither place.
    """

    def __init__(self, source: str = STABLE_DIFFUSION, device: str | None = None) -> None:
        require(
            find_spec("diffusers") is not None,
            "the autoencoder needs diffusers: pip install 'tvmlab[latents]'",
        )
        self.source = source
        self.device = _device(device)
        self._folder = _located(source)

    @cached_property
    def _network(self) -> Any:
        from diffusers import AutoencoderKL

        dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        try:  # without accelerate diffusers takes that way in any case, and advertises the other
            network = AutoencoderKL.from_pretrained(
                self._folder, torch_dtype=dtype, low_cpu_mem_usage=False
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self._folder} holds no AutoencoderKL: {reason}") from error
        return network.to(self.device).requires_grad_(False).eval()

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self._network.config.latent_channels)

    @property
    def factor(self) -> int:
        """How many pixels of an image, each way, make one of its latents."""
        return int(2 ** (len(self._network.config.block_out_channels) - 1))

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std, each (B, C, H/f, W/f) float32, of images uint8 (B, 3, H, W)."""
        network = self._network
        x = images.to(self.device, network.dtype) / 127.5 - 1
        posterior = network.encode(x).latent_dist
        return posterior.mean.float().cpu(), posterior.std.float().cpu()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return images uint8 (B, H, W, 3) of unscaled latents (B, C, H/f, W/f)."""
        network, parts = self._network, []
        for part in latents.split(_DECODED_AT_ONCE):
            x = network.decode(part.to(self.device, network.dtype)).sample.float()
            bright = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            parts.append(bright.permute(0, 2, 3, 1).cpu())
        return torch.cat(parts)


def _device(name: str | None) -> torch.device:
    """Return the device of that name, or a GPU if there is one."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UserError(f"{name!r} is not a device: name cpu or cuda[:N]") from error
    require(
        device.type != "cuda" or torch.cuda.is_available(),
        f"{name!r}, but PyTorch sees no GPU: name cpu",
    )
    return device


def _located(source: str) -> str:
    """Return the folder of a source: itself, or where the hub's cache keeps it."""
    folder = Path(source).expanduser()
    if (folder / _CONFIG).is_file():
        return str(folder)
    cached = _in_cache(source)
    if cached is not None:
        return str(cached)
    raise UserError(
        f"no autoencoder at '{source}': neither a folder with {_CONFIG} nor in the hub's cache. "
        f"Give such a folder (--vae, datasets.latents.vae), or fetch it once where there is a "
        f"network: hf download {STABLE_DIFFUSION}"
    )


def _in_cache(source: str) -> Path | None:
    """Return the newest snapshot of a hub repository in the cache, or None."""
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        return None
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))
    snapshots = cache / f"models--{source.replace('/', '--')}" / "snapshots"
    found = [path.parent for path in snapshots.glob(f"*/{_CONFIG}")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
