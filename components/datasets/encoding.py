"""Encoding images into a file of latents, going on where an earlier attempt was killed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from components.checks import require
from components.datasets.autoencoder import Autoencoder
from components.datasets.image_source import (
    LABELS,
    Reader,
    labels_by_folder,
    labels_of,
    opened,
    pictures_among,
)
from components.datasets.latents_file import FLIPPED, POSTERIOR, LatentsFile, open_latents
from components.datasets.latents_part import Content, LatentsPart, check_origin
from components.datasets.squares import Squares

_NOTED_EVERY = 0.5  # seconds between two notes of how far it is
Report = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Encoding:
    """What is encoded and how.

    Args:
        images: folder or ZIP file of images, with dataset.json or a folder for each class.
        out: the file of latents.
        flip: whether the mirrored images are encoded too.
        crop: scale each image to this size and cut a square from its middle; without it all have to
            be squares of one size.
        kind: float16 or float32.
        classes: how many there are; as many as the labels need if None.
    """

    images: Path
    out: Path
    flip: bool = False
    crop: int | None = None
    kind: str = "float16"
    classes: int | None = None

    def run(self, autoencoder: Autoencoder, batch_size: int, report: Report) -> LatentsFile:
        """Encode what is not encoded yet; `report(done, all, rate)` hears of it.

        Raises:
            UserError: the images cannot be used, the file belongs to others, or the disk is full.
        """
        with opened(self.images) as (names, read):
            pictures = pictures_among(self.images, names)
            labels = self._labels(pictures, names, read)
            origin = self._origin(autoencoder, pictures, labels)
            if self.out.exists():
                check_origin(self.out, origin)
                return open_latents(self.out)
            squares = Squares(self.images, read, self.crop)
            part = LatentsPart(self.out)
            if not part.path.exists():
                size = squares.image(pictures[0]).shape[-1]
                part.create(self._content(autoencoder, size, labels, origin))
            check_origin(part.path, origin)
            self._fill(part, pictures, squares, autoencoder, batch_size, report)
        return part.finish()

    def _labels(self, pictures: list[str], names: list[str], read: Reader) -> Tensor:
        if LABELS in names:
            labels = labels_of(self.images, pictures, names, read)
        else:
            labels = labels_by_folder(self.images, pictures)
        needed = int(labels.max()) + 1
        require(
            self.classes is None or self.classes >= needed,
            f"{self.images} has {needed} classes, and --classes is {self.classes}",
        )
        return labels

    def _origin(self, autoencoder: Autoencoder, pictures: list[str], labels: Tensor) -> str:
        """Return what the file's numbers follow from, as JSON."""
        listed = hashlib.sha256("\n".join(pictures).encode() + labels.numpy().tobytes())
        facts = {
            "autoencoder": autoencoder.source,
            "pictures": listed.hexdigest(),
            "flip": self.flip,
            "crop": self.crop,
            "kind": self.kind,
            "classes": self.classes,
        }
        return json.dumps(facts, sort_keys=True)

    def _content(self, autoencoder: Autoencoder, size: int, labels: Tensor, origin: str) -> Content:
        factor = autoencoder.factor
        require(
            size % factor == 0,
            f"images of {size}x{size}: each latent is made from {factor}x{factor} pixels",
        )
        shape = (len(labels), autoencoder.channels, size // factor, size // factor)
        classes = self.classes or int(labels.max()) + 1
        return Content(self._names(), shape, self.kind, labels, classes, origin)

    def _names(self) -> list[str]:
        return [*POSTERIOR, *(FLIPPED if self.flip else ())]

    def _fill(
        self,
        part: LatentsPart,
        pictures: list[str],
        squares: Squares,
        autoencoder: Autoencoder,
        batch_size: int,
        report: Report,
    ) -> None:
        done = first = part.done
        started = noted = time.monotonic()
        with part.filling(self._names()) as filling:
            size = filling.resolution * autoencoder.factor
            for images in squares.batches(pictures[first:], size, batch_size):
                for name, values in self._encoded(autoencoder, torch.stack(images)):
                    filling.write(name, done, values)
                done += len(images)
                now = time.monotonic()
                if now - noted > _NOTED_EVERY or done == len(pictures):
                    filling.note(done)
                    noted = now
                report(done, len(pictures), (done - first) / max(now - started, 1e-9))

    def _encoded(self, autoencoder: Autoencoder, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield from zip(POSTERIOR, autoencoder.encode(images))
        if self.flip:
            yield from zip(FLIPPED, autoencoder.encode(images.flip(-1)))
