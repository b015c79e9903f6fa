"""Square images of one size from a folder or ZIP file, read ahead in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from torch import Tensor

from components.checks import require
from components.datasets.image_source import Reader, cropped, decoded

_READERS = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Squares:
    """Images (3, R, R) uint8 by name.

    Args:
        source: folder or ZIP file of images.
        read: reads one of its files.
        crop: scale each image to this size and cut a square from its middle; without it all have to
            be squares of one size.
    """

    source: Path
    read: Reader
    crop: int | None = None
    _unsaid: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def image(self, name: str) -> Tensor:
        """Return one image (3, R, R).

        Raises:
            UserError: it cannot be read, or is no square of 1 or 3 channels.
        """
        image = decoded(f"{self.source}/{name}", self.read(name))
        channels, height, width = image.shape
        require(
            channels in (1, 3) and (self.crop is not None or height == width),
            f"{self.source}/{name} has shape {tuple(image.shape)}: squares of 1 or 3 channels are "
            "encoded; --crop SIZE cuts them",
        )
        image = image.expand(3, -1, -1)
        if self.crop is None:
            return image
        if min(height, width) < self.crop:
            self._say_enlarged(f"{self.source}/{name} is {width}x{height}")
        return cropped(image, self.crop)

    def batches(self, names: Sequence[str], size: int, count: int) -> Iterator[list[Tensor]]:
        """Yield images `count` at a time, the next ones being read meanwhile.

        Raises:
            UserError: one cannot be read, or is not of this size.
        """
        with ThreadPoolExecutor(_READERS) as readers:
            ahead: list[Iterator[Tensor]] = []
            for start in range(0, len(names), count):
                ahead.append(readers.map(self.image, names[start : start + count]))
                if len(ahead) > 1:
                    yield self._of_size(ahead.pop(0), size)
            yield from (self._of_size(rest, size) for rest in ahead)

    def _of_size(self, images: Iterator[Tensor], size: int) -> list[Tensor]:
        batch = list(images)
        found = {image.shape[-1] for image in batch} - {size}
        require(
            not found,
            f"{self.source} has images of {size}x{size} and of {found}: one size is needed; "
            f"--crop {size} cuts them",
        )
        return batch

    def _say_enlarged(self, found: str) -> None:
        """Say once that images are enlarged; several threads read them."""
        if self._unsaid.acquire(blocking=False):
            _log.warning("%s: what is smaller than --crop %d is enlarged to it", found, self.crop)
