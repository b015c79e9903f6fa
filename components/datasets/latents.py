"""Images encoded by an autoencoder, in one HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.checks import at_least, positive, require
from components.datasets.autoencoder import Autoencoder
from components.datasets.latents_file import FLIPPED, POSTERIOR, LatentsFile, open_latents
from framework import UserError, register
from framework.protocols import Examples
from framework.settings import LocalPath, PositiveInt

_PREVIEW = (  # R, G, B from the four channels of Stable Diffusion's latents times 0.18215
    (0.3512, 0.3250, -0.2829, -0.2120),
    (0.2297, 0.4974, 0.1762, -0.2616),
    (0.3227, 0.2350, 0.2721, -0.7177),
)
_STABLE_DIFFUSION_SCALE = 0.18215


@register.dataset("latents")
class Latents:
    """Latents of an autoencoder, drawn anew from each image's posterior, standardised by channel.

    x = (mean + std noise - m) / s with the noise of one example made from its uniform number. The
    file is that of `launch/encode_latents.py`; examples are read from the disk as they are wanted.
    Without a file the dataset has a shape, classes and pictures but no examples: enough to sample.

    Args:
        path: the file, or None for sampling alone.
        resolution: height and width R of the latents; the file's have to be the same.
        mean: m of each channel.
        std: s of each channel.
        num_classes: of the file.
        flip: whether half of the draws are of the mirrored image.
        vae: folder or hub name of the autoencoder that makes pictures of latents; without it
            pictures are a rough preview of R x R pixels.
    """

    def __init__(
        self,
        path: LocalPath | None,
        resolution: PositiveInt,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        num_classes: PositiveInt = 1000,
        flip: bool = False,
        vae: LocalPath | None = None,
    ) -> None:
        at_least("resolution", resolution, 1)
        require(len(mean) == len(std) > 0, f"mean has {len(mean)} channels and std has {len(std)}")
        for value in std:
            positive("std", value)
        self.name = "latents"
        self.shape: tuple[int, ...] = (len(mean), resolution, resolution)
        self.num_classes = num_classes
        self.flip = flip
        self._mean, self._std = (torch.tensor(v).view(-1, 1, 1) for v in (mean, std))
        self._file = self._checked(Path(path).expanduser()) if path is not None else None
        self._maps = self._mapped()
        self._autoencoder = Autoencoder(vae) if vae is not None else None

    @property
    def decodes(self) -> bool:
        """Whether `images` are those of the autoencoder and not previews."""
        return self._autoencoder is not None

    def __len__(self) -> int:
        """Return the number of examples, 0 without a file."""
        return 0 if self._file is None else len(self._file.labels)

    def examples(self, indices: Tensor, u: Tensor) -> Examples:
        """Return draws of the examples of indices (B,) from uniforms u (B, 2).

        Column 0 is the seed of the noise, column 1 the coin of the mirror.

        Raises:
            UserError: there is no file.
        """
        if self._file is None:
            raise UserError("datasets.latents.path is not set, and training needs its examples")
        at = indices.numpy()
        mean, std = (torch.from_numpy(self._maps[name][at]).float() for name in POSTERIOR)
        if self.flip:
            coin = (u[:, 1] < 0.5).view(-1, 1, 1, 1)
            mirrored = (torch.from_numpy(self._maps[name][at]).float() for name in FLIPPED)
            mean, std = (torch.where(coin, m, p) for m, p in zip(mirrored, (mean, std)))
        drawn = mean + std * _noise(u[:, 0], self.shape)
        labels = torch.from_numpy(self._file.labels[at])
        return Examples((drawn - self._mean) / self._std, labels)

    def labels(self) -> Tensor:
        """Return all labels (N,); one of each class without a file."""
        if self._file is None:
            return torch.arange(self.num_classes)
        return torch.from_numpy(self._file.labels)

    def held_out(self) -> Examples:
        """Return nothing: all examples are for training."""
        return Examples(torch.empty(0, *self.shape), torch.empty(0, dtype=torch.int64))

    def images(self, x: Tensor) -> Tensor:
        """Return pictures of x (B, C, R, R) as uint8 (B, H, W, 3): decoded, or previews."""
        latents = x.detach().cpu().float() * self._std + self._mean
        if self._autoencoder is not None:
            return self._autoencoder.decode(latents)
        return _preview(latents)

    def _checked(self, path: Path) -> LatentsFile:
        """Open the file and compare it with the settings."""
        found = open_latents(path)
        require(
            found.shape == self.shape,
            f"{path} has latents of shape {found.shape}, and datasets.latents.resolution, mean and "
            f"std describe {self.shape}",
        )
        require(
            found.num_classes == self.num_classes,
            f"{path} has {found.num_classes} classes, and datasets.latents.num_classes is "
            f"{self.num_classes}",
        )
        require(
            found.flipped or not self.flip,
            f"{path} has no mirrored images: encode it with --flip, or set datasets.latents.flip "
            "to False",
        )
        return found

    def _mapped(self) -> dict[str, np.ndarray]:
        if self._file is None:
            return {}
        return {name: table.map() for name, table in self._file.tables.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_maps"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._maps = self._mapped()


def _noise(u: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return standard normals (B, *shape) float32, each example's from its own uniform (B,)."""
    noise = np.empty((len(u), *shape), np.float32)
    for row, seed in zip(noise, (u.double() * 2.0**53).long().tolist()):
        np.random.Generator(np.random.Philox(key=seed)).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(noise)


def _preview(latents: Tensor) -> Tensor:
    """Return a rough picture uint8 (B, R, R, 3 or 1): Stable Diffusion's colours, or the mean."""
    if latents.shape[1] == 4:
        colours = torch.tensor(_PREVIEW) * _STABLE_DIFFUSION_SCALE
        light = torch.einsum("bchw,kc->bhwk", latents, colours)
    else:
        light = latents.mean(dim=1).unsqueeze(-1)
    return ((light + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
