"""From a grid's folder to what a report is made from."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from framework import results
from framework.errors import UserError
from framework.grid.manifest import Manifest

from .grid_results import Arm, GridResults, Pictures, RunFacts
from .manifest import found_runs, manifest_arms, manifest_runs, relative

CATEGORIES = ("grid", "arm", "variant", "metric", "kind", "direction", "weights", "sampler")


class StoredRuns:
    """Reads single runs through `framework.results`."""

    def samples(self, directory: Path) -> dict[tuple[int, int], Pictures]:
        """Return a run's pictures; none for a run without a readable file."""
        run = self._read(directory)
        found = {} if run is None else run.samples
        return {(s, n): (pictures.images, pictures.labels) for (s, n), pictures in found.items()}

    def facts(self, directory: Path) -> RunFacts:
        """Return where a run came from."""
        run = self._read(directory)
        if run is None:
            return RunFacts()
        config = run.config
        return RunFacts(
            config.commit,
            config.host,
            config.device,
            config.command,
            dict(config.versions),
            dict(config.resolved),
        )

    def file(self, directory: Path) -> Path | None:
        """Return a run's HDF5 file."""
        path = directory / "results.h5"
        return path if path.is_file() else None

    def _read(self, directory: Path) -> results.RunResults | None:
        """Read a run; a damaged one was named when the grid was loaded, and is done without."""
        try:
            return results.read_run(directory)
        except (results.DamagedRunError, results.NewerSchemaError, OSError):
            return None


def load_grid(directory: Path) -> GridResults:
    """Gather a grid's manifest, run states and results.

    A folder of runs without a manifest is taken as a grid whose arms are those of the runs.

    Raises:
        UserError: no such folder, nothing of a grid in it, or a manifest that cannot be read.
    """
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder; give the folder of a grid, as runs/NAME")
    manifest = Manifest.read(directory)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = results.load(directory)
    if manifest is None and frame.empty:
        raise UserError(f"{directory}: neither grid.json nor runs; give the folder of a grid")
    said = [f"{w.message}." for w in caught if issubclass(w.category, UserWarning)]
    folders = {run: relative(directory, run) for run in frame["run"].unique()}
    if manifest is None:
        runs = found_runs(directory, frame)
        arms = _arms_of(runs, frame)
        said += _twice(runs, list(folders.values()))
    else:
        firsts = frame.drop_duplicates("run")
        commits = dict(zip(firsts["run"].map(folders), firsts["commit"], strict=True))
        runs, arms = manifest_runs(directory, manifest, commits), manifest_arms(manifest)
    return GridResults(
        name=manifest.name if manifest else directory.resolve().name,
        description=manifest.description if manifest else "",
        directory=directory,
        metric=manifest.metric if manifest else None,
        metric_nfe=manifest.metric_nfe if manifest else None,
        baseline=manifest.baseline if manifest else None,
        seeds=tuple(sorted(int(seed) for seed in runs["seed"].unique())),
        axes=_axes(manifest) if manifest else {},
        equivalent=tuple(manifest.equivalent) if manifest else (),
        arms=arms,
        runs=runs,
        frame=_placed(frame, folders, runs),
        command=manifest.command if manifest else "",
        reader=StoredRuns(),
        warnings=tuple(dict.fromkeys(said)),
    )


def _placed(frame: pd.DataFrame, folders: Mapping[str, str], runs: pd.DataFrame) -> pd.DataFrame:
    """Give every row the arm and variant of its cell; rows of no cell are left out.

    Works on the codes of the runs: a large grid has millions of rows.
    """
    if frame.empty:
        return frame
    cells = runs.set_index("directory")[["arm", "variant"]]
    run = frame["run"].cat
    of_run = cells.reindex([folders.get(name) for name in run.categories])
    known = of_run["arm"].notna().to_numpy()[run.codes]
    if not known.all():
        frame = frame[known].copy()
    codes = frame["run"].cat.codes.to_numpy()
    for column in ("arm", "variant"):
        frame[column] = pd.Categorical(of_run[column]).take(codes)
    for column in CATEGORIES:
        frame[column] = frame[column].astype("category")
    for column in ("nfe", "block"):
        frame[column] = frame[column].astype(float)
    frame["time"] -= frame.groupby(codes)["time"].transform("min")
    return frame


def _twice(runs: pd.DataFrame, folders: Sequence[str]) -> list[str]:
    """Say which folders are left out because a later one is of the same arm and seed."""
    out = sorted(set(folders) - set(runs["directory"]))
    if not out:
        return []
    return [
        f"Left out, as another run here has the same arm and seed: {out[0]}"
        + (f" and {len(out) - 1} more." if len(out) > 1 else ".")
    ]


def _arms_of(runs: pd.DataFrame, frame: pd.DataFrame) -> tuple[Arm, ...]:
    """Arms of a folder without a manifest, with the settings that their rows carry."""
    columns = [column for column in frame.columns if "." in str(column)]
    first = frame.drop_duplicates("arm").set_index("arm")[columns].to_dict("index")
    return tuple(
        Arm(arm, {str(b): str(v) for b, v in first[arm].items()}) for arm in runs["arm"].unique()
    )


def _axes(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Axes with their values as text; settings that move together count by one of theirs.

    It has to be one that takes a value of its own at every point.
    """
    every = {binding: tuple(values) for binding, values in manifest.axes.items()}
    for columns in manifest.zips.values():
        telling = [b for b, values in columns.items() if len(set(values)) == len(values)]
        every |= {binding: tuple(columns[binding]) for binding in telling[:1]}
    return every
