"""The fixed classifier whose features judge small images.

It is trained once on the training split, deterministically, and cached. Its weights' hash is part
of the names of the scores that depend on it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from framework.protocols import Dataset

FEATURES = 64
_POOLED = 4  # height and width of the maps that enter the linear layers
_LARGE = 16  # pixels from which on images are halved early: a quarter of the work, nothing lost
_BATCH = 512


@dataclass(frozen=True)
class Recipe:
    """How the classifier is trained."""

    epochs: int = 24  # at most
    examples: int = 420_000  # shown in all, unless two epochs are more: 7 of Fashion-MNIST, 92.2 %
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    seed: int = 0

    def key(self, dataset: Dataset) -> str:
        """Return the hash of everything that the trained weights follow from."""
        digest = hashlib.sha256(f"{self} {torch.__version__}".encode())
        digest.update(Path(__file__).read_bytes())
        x, labels = _training_set(dataset)
        digest.update(x.numpy().tobytes())
        digest.update(labels.numpy().tobytes())
        return digest.hexdigest()[:16]


class Classifier(nn.Module):
    """Three convolutions and two linear layers; the features are what enters the last.

    Args:
        shape: (C, H, W) of an image.
        num_classes: how many classes there are.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        halving = nn.MaxPool2d(2) if min(height, width) >= _LARGE else nn.Identity()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.Sequential(nn.ReLU(), halving),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(_POOLED),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.inner = nn.Linear(64 * _POOLED**2, FEATURES)
        self.last = nn.Linear(FEATURES, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return features (B, 64) of images (B, C, H, W)."""
        return torch.relu(self.inner(self.convolutions(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W)."""
        logits: Tensor = self.last(self.features(x))
        return logits

    def weights_hash(self) -> str:
        """Return eight hexadecimal digits that stand for the weights."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:8]


def train(dataset: Dataset, recipe: Recipe) -> Classifier:
    """Train the classifier of a dataset on the CPU: same data, machine and recipe, same weights."""
    x, labels = _training_set(dataset)
    epochs = min(recipe.epochs, max(2, recipe.examples // len(x)))
    generator = torch.Generator().manual_seed(recipe.seed)
    with _single_thread(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(recipe.seed)
        network = Classifier(dataset.shape, dataset.num_classes)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        batches = math.ceil(len(x) / recipe.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.lr, total_steps=epochs * batches
        )
        for _ in range(epochs):
            order = torch.randperm(len(x), generator=generator)
            for indices in order.split(recipe.batch_size):
                logits = network(_shifted(x[indices], generator))
                loss = nn.functional.cross_entropy(logits, labels[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.requires_grad_(False).eval()


def in_batches(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return function(x) for images x (M, C, H, W), computed where they lie, a batch at a time.

    In float32 throughout: a GPU's convolutions would round to TF32.
    """
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return torch.cat([function(part) for part in x.detach().float().split(_BATCH)])


def _training_set(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Return all training images (M, C, H, W) and labels (M,) as the dataset gives them undrawn."""
    indices = torch.arange(len(dataset))
    examples = dataset.examples(indices, torch.full((len(dataset), 2), 0.5, dtype=torch.float64))
    return examples.x.cpu(), examples.labels.cpu()


def training_images(dataset: Dataset) -> Tensor:
    """Return all training images (M, C, H, W)."""
    return _training_set(dataset)[0]


def _shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (B, C, H, W), the whole batch moved by at most a pixel each way."""
    height, width = x.shape[-2:]
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
    return padded[..., down : down + height, right : right + width]


@contextmanager
def _single_thread() -> Iterator[None]:
    """Compute with one thread, so that sums have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
