"""A run's folder from weights that come from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.datasets.autoencoder import Autoencoder
from components.models.release import Released, networks
from framework import UserError
from framework.configuration import Configuration, Reference, Value, text
from framework.configuration.parsing import ROOT
from framework.importing import RefusedError, is_torch_save, read_pickle, read_torch_save
from framework.runs.sources import listed
from framework.training import exchange
from framework.training.experiment import Experiment
from framework.training.starting import check_free, start
from framework.training.weights import SAFETENSORS, Weights, read_safetensors

BASE = {64: ROOT / "gin/imagenet512.gin"}
USUAL_BASE = ROOT / "gin/imagenet256.gin"
LATENTS = "datasets.latents"
WEIGHT = "guidances.constant.weight"


@dataclass
class Import:
    """One file on its way into a run's folder.

    Args:
        file: a .pkl or training state of the release, or a .safetensors file.
        out: the run's folder, empty or absent.
        gin: gin files for what the file does not say.
        sets: bindings of the command line.
        plugins: modules of the command line.
        notes: receives what the user may want to know.
    """

    file: Path
    out: Path
    gin: list[Path]
    sets: list[str]
    plugins: list[str]
    notes: list[str] = field(default_factory=list)

    def run(self) -> str:
        """Write the run's folder; return in one line what it holds.

        Raises:
            UserError: the file cannot be read safely, or is not a network that fits.
        """
        check_free(self.out)
        if self.file.suffix == SAFETENSORS:
            weights, metadata = read_safetensors(self.file)
            reached = metadata.get(exchange.STEP, "")
            step = int(reached) if reached.isdecimal() else 0
            return self._write(self._exchanged(metadata), {"evaluation": weights}, step)
        released = self._released()
        main = next(iter(released.values()))
        weights_of = {name: network.weights for name, network in released.items()}
        return self._write(self._configured(main), weights_of, 0, main)

    def _exchanged(self, metadata: Mapping[str, str]) -> Configuration:
        if self.gin:
            chosen = Configuration.load(self.gin, self.sets, self.plugins)
            changed = exchange.differing(metadata, chosen)
            if changed:
                self.notes.append(f"{self.file} was trained otherwise: {listed(changed)}")
            return chosen
        return exchange.configuration(self.file, metadata).with_sets(self.sets)

    def _released(self) -> dict[str, Released]:
        """Return the networks of a released file."""
        file = self.file
        content = read_torch_save(file) if is_torch_save(file) else read_pickle(file)
        try:
            return networks(content)
        except RefusedError as error:
            raise RefusedError(f"{file}: {error}") from error
        except UserError as error:
            raise UserError(f"{file}: {error}") from error

    def _configured(self, released: Released) -> Configuration:
        """Return the run's configuration: the gin file's, with what the network says."""
        files = self.gin or [BASE.get(released.shape[1], USUAL_BASE)]
        configured = Configuration.load(files, self.sets, self.plugins)
        settings = dict(released.settings)
        if _dataset(configured) == LATENTS:
            settings[f"{LATENTS}.resolution"] = released.shape[1]
            settings[f"{LATENTS}.num_classes"] = released.num_classes
        self._refuse_contradictions(configured, settings)
        if not self.gin:
            said = f"guidance weight {text(configured.get(WEIGHT))} from {files[0].name}"
            self.notes.append(f"{said}: --gin names another setting of Table 6")
        return configured.with_bindings(settings, origin=str(self.file))

    def _refuse_contradictions(
        self, configured: Configuration, settings: Mapping[str, Value]
    ) -> None:
        """Compare what the user says of the network, in --gin or --set, with what it is."""
        sets = Configuration().with_sets(self.sets).bindings
        for name, value in settings.items():
            said, is_set = configured.get(name), configured.key(name) in sets
            if said is None or not (self.gin or is_set) or _plain(said) == _plain(value):
                continue
            where = "--set" if is_set else "the gin file"
            mend = "leave that out" if is_set else "name this network's gin file, or --set it"
            raise UserError(
                f"{self.file} has {name} = {text(value)}, and {where} says {text(said)}: {mend}"
            )

    def _write(
        self,
        configured: Configuration,
        weights: Mapping[str, Weights],
        step: int,
        released: Released | None = None,
    ) -> str:
        experiment = Experiment.build(self._without_absent_files(configured).resolve())
        if released:
            self._check_data(experiment, released)
        start(self.out, experiment, weights, step)
        count = sum(weight.numel() for weight in next(iter(weights.values())).values())
        return f"{', '.join(weights)} weights of {count / 1e6:.1f} M numbers, step {step}"

    def _check_data(self, experiment: Experiment, released: Released) -> None:
        dataset = experiment.train.dataset
        if (dataset.shape, dataset.num_classes) != (released.shape, released.num_classes):
            raise UserError(
                f"{self.file} is a network of {released.shape} in {released.num_classes} classes, "
                f"and {dataset.name} has {dataset.shape} in {dataset.num_classes}: name the gin "
                "file of its data"
            )

    def _without_absent_files(self, configured: Configuration) -> Configuration:
        """Return a configuration that can be sampled from without the files of its data."""
        if _dataset(configured) != LATENTS:
            return configured
        absent: dict[str, Value] = {}
        path, vae = configured.get(f"{LATENTS}.path"), configured.get(f"{LATENTS}.vae")
        if path is not None and not Path(path).expanduser().is_file():
            absent[f"{LATENTS}.path"] = None
            self.notes.append(f"no latents at {path}: classes are drawn evenly")
        if vae is not None:
            try:
                Autoencoder(vae)
            except UserError as error:
                absent[f"{LATENTS}.vae"] = None
                self.notes.append(f"pictures will be rough previews: {error}")
        return configured.with_bindings(absent, origin="files that are here")


def _plain(value: Value) -> Value:
    return value.selector if isinstance(value, Reference) else value


def _dataset(configured: Configuration) -> str:
    dataset = configured.get("train.dataset")
    return dataset.selector if isinstance(dataset, Reference) else ""
