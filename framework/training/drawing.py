"""Pictures of chosen classes from a run's weights, as sheets and as single files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from framework.errors import UserError
from framework.passes import Passes
from framework.streams import Streams
from framework.training.compilation import sampling_passes
from framework.training.pictures import Images, save_image, save_sheet
from framework.training.real import held_out_pictures
from framework.training.restored import Restored
from framework.training.sampling import draw, field_of
from framework.training.scoring import sampling_weights
from framework.training.weights import EVALUATION


@dataclass(frozen=True)
class Wanted:
    """What to draw.

    Attributes:
        nfe: network evaluations a sample, a sheet each; empty for the run's own.
        classes: a row of the sheet each; empty for all.
        count: samples of each class; latents are the same for every class and NFE.
        weight: guidance weight; None for the run's own.
        seed: of the latents.
        weights: "trained", or the name of an average.
        real: whether to draw held-out images too.
    """

    nfe: Sequence[int]
    classes: Sequence[int] = ()
    count: int = 8
    weight: float | None = None
    seed: int = 0
    weights: str = EVALUATION
    real: bool = False


def draw_pictures(run: Restored, wanted: Wanted, output: Path) -> list[Path]:
    """Write `nfe=N.png`, a row a class, and its images as `nfe=N/class=C-I.png`.

    Images of an earlier call in those folders go: what lies there is what the sheet shows.
    Held-out images, where wanted, lie beside them as `real.png`.

    Returns:
        the sheets.

    Raises:
        UserError: a class, weights or a guidance weight that the run does not have, or a folder
            that cannot be written.
    """
    known = run.experiment.train.dataset.num_classes
    for number in wanted.classes:
        if not 0 <= number < known:
            raise UserError(f"class {number} is out of range: this run has 0 to {known - 1}")
    classes = list(wanted.classes) or list(range(known))
    counts = wanted.nfe or run.experiment.evaluation.counts
    passes = _passes(run, wanted, len(classes) * wanted.count, sum(nfe or 1 for nfe in counts))
    sheets: dict[str, Images] = {}
    for asked in counts:
        images, nfe = images_of(run, wanted, classes, asked, passes)
        sheets[f"nfe={nfe}"] = images
    if wanted.real:
        dataset = run.experiment.train.dataset
        sheets["real"] = held_out_pictures(dataset, classes, wanted.count)
    for name, images in sheets.items():
        try:
            save_sheet(output / f"{name}.png", images, wanted.count)
            for earlier in (output / name).glob("class=*-*.png"):
                earlier.unlink()
            for index, image in enumerate(images):
                row, column = divmod(index, wanted.count)
                save_image(output / name / f"class={classes[row]}-{column:05d}.png", image)
        except OSError as error:
            raise UserError(f"{output}: {error.strerror}: choose another --output") from error
    return [output / f"{name}.png" for name in sheets]


def _passes(run: Restored, wanted: Wanted, samples: int, evaluations: int) -> Passes:
    """Return passes for so many samples, each of which takes so many evaluations in all."""
    network, train = run.trainer.network(wanted.weights), run.experiment.train
    size = min(run.experiment.evaluation.batch_size, samples)
    return sampling_passes(network, train, run.trainer.device, size, samples * evaluations)


def weight_of(run: Restored, wanted: Wanted) -> float:
    """Return the guidance weight to draw at."""
    if wanted.weight is not None:
        return wanted.weight
    train = run.experiment.train
    return sampling_weights(run.experiment.evaluation, train.loss.guidance.weight)[0]


def images_of(
    run: Restored,
    wanted: Wanted,
    classes: Sequence[int],
    nfe: int | None,
    passes: Passes | None = None,
) -> tuple[Images, int]:
    """Return images (classes times count, H, W, 1 or 3), class by class, and what one took."""
    trainer, settings = run.trainer, run.experiment.evaluation
    train, device = trainer.settings, trainer.device
    weight = weight_of(run, wanted)
    field = field_of(trainer.network(wanted.weights), train, device, passes)
    shape = train.dataset.shape
    noise = Streams(wanted.seed).normal("samples", 0, range(wanted.count), shape, device)
    latents = noise.repeat(len(classes), *[1] * len(shape))
    labels = torch.tensor(classes, device=device).repeat_interleave(wanted.count)
    samples = draw(settings.sampler, field, latents, labels, weight, nfe, settings.batch_size)
    images: Images = train.dataset.images(samples.cpu()).numpy()
    return images, round(field.evaluated / len(latents))
