"""Compare this repository's numbers with those of the released code.

    python -m tests.parity CASE.npz

prints one line a quantity with the largest error relative to the array's largest magnitude, and
exits 1 if one of them is above 1e-5. tests/golden holds copies of the cases.
"""

from __future__ import annotations

import copy
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.attentions import Dense
from components.flow_maps import Plain, Scaled
from components.initializers import Spectral
from components.losses import TVM
from components.losses.draws import point_at
from components.models import DiT
from components.models.release_names import from_release
from components.modulation_norms import ModulationRMS, NoModulationNorm
from components.normalizations import RMS
from components.qk_norms import QKRMS, NoQKNorm
from components.samplers import FlowMapSampler
from components.second_times import Difference
from components.time_embeddings import Sinusoidal
from framework.evaluator import Evaluator
from framework.flow import derivative, displacement, velocity
from framework.passes import Passes
from framework.protocols import Batch, Conditions, FlowMap, Query, Tangent, Times

TOLERANCE = 1e-5
Comparison = tuple[str, float]


class Case:
    """One golden file: the released code's inputs, weights and results."""

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        with np.load(path) as arrays:
            self.config = json.loads(str(arrays["config"]))
            self._arrays = {name: arrays[name] for name in arrays.files if name != "config"}
        self._dtype, self._device = dtype, device

    def __getitem__(self, name: str) -> Tensor:
        value = torch.from_numpy(self._arrays[name]).to(self._device)
        return value.to(self._dtype) if value.is_floating_point() else value

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the arrays whose names start with the prefix, without it."""
        names = (name for name in self._arrays if name.startswith(prefix))
        return {name.removeprefix(prefix): self[name] for name in names}

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the arguments (x_t, t, s, c, w) of the network."""
        x_t = point_at(self.batch, self["t"])
        return x_t, self["t"], self["s"], self["labels"], self["beta"].reciprocal()

    @property
    def batch(self) -> Batch:
        """Return the batch of the loss; its streams are never read, the draws being given."""
        empty = self.config["num_classes"]
        return Batch(self["x0"], self["noise"], self["labels"], empty, lambda _, n: torch.zeros(n))


class Given:
    """The case's own times and conditions instead of a sampler's and a guidance's."""

    weight = None

    def __init__(self, case: Case) -> None:
        self._times = Times(case["t"], case["s"], case["s_prime"])
        self._conditions = Conditions(case["labels"], case["beta"].reciprocal())

    def times(self, u: Tensor) -> Times:
        return self._times

    def __call__(self, labels: Tensor, empty_class: int, u: Tensor) -> Conditions:
        return self._conditions


class NetworkField:
    """The network as a flow."""

    def __init__(self, network: DiT, flow_map: FlowMap) -> None:
        self._network, self._flow_map = network, flow_map

    def displacement(self, x: Tensor, t: Tensor, s: Tensor, c: Tensor, w: Tensor) -> Tensor:
        return displacement(self._flow_map, self._network(x, t, s, c, w), t, s, w)

    def velocity(self, x: Tensor, t: Tensor, c: Tensor, w: Tensor) -> Tensor:
        return velocity(self._flow_map, self._network(x, t, t, c, w), t, w)


def network_of(case: Case, weights: str) -> DiT:
    """Return the case's network with its weights `net/` or `target/`."""
    config = case.config
    network = DiT(
        shape=(config["channels"], config["resolution"], config["resolution"]),
        num_classes=config["num_classes"],
        hidden_size=config["hidden_size"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        time_embedding=Sinusoidal,
        second_time=Difference,
        normalization=RMS,
        modulation_norm=ModulationRMS if config["modulation_norm"] else NoModulationNorm,
        qk_norm=QKRMS if config["qk_norm"] else NoQKNorm,
        initializer=Spectral(),
        attention=Dense(),
        patch_size=config["patch_size"],
        guidance_embedding=config["guidance_embedding"],
    )
    parameters = from_release(case.under(weights))
    network.to(next(iter(parameters.values())))  # its device and dtype
    network.load_state_dict(parameters)
    return network


def error(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference relative to the largest magnitude of theirs."""
    ours, theirs = ours.detach().cpu().double(), theirs.cpu().double()
    difference = (ours - theirs).abs().max()
    return float(difference / theirs.abs().max().clamp(min=torch.finfo().tiny))


def compare(
    path: Path,
    dtype: torch.dtype = torch.float32,
    passes: Passes | None = None,
    device: str = "cpu",
) -> Iterator[Comparison]:
    """Yield each quantity's name and largest relative error, computed in `dtype` on a device."""
    case = Case(path, dtype, device)
    network = network_of(case, "net/")
    flow_map = Scaled() if case.config["scaled_parameterization"] else Plain()
    evaluator = Evaluator(network, {"target": network_of(case, "target/")}, passes)
    positions = network.get_buffer("positions")
    yield "positions", error(positions, case["net/model.pos_embed"].squeeze(0))
    yield from _network(case, evaluator, flow_map)
    yield from _loss(case, network, evaluator, flow_map)
    yield from _samples(case, network, flow_map)


def _network(case: Case, evaluator: Evaluator, flow_map: FlowMap) -> Iterator[Comparison]:
    x_t, t, s, c, w = case.arguments
    (result,) = evaluator(Query(x_t, t, s, c, w, tangent=Tangent(s=torch.ones_like(s))))
    yield "F", error(result.F, case["out_F"])
    yield "end point", error(x_t + displacement(flow_map, result.F, t, s, w), case["out_f"])
    df_ds = derivative(flow_map, result.F, result.derivative, t, s, w)
    yield "df/ds", error(df_ds, case["out_df_ds"])


def _loss(
    case: Case, network: DiT, evaluator: Evaluator, flow_map: FlowMap
) -> Iterator[Comparison]:
    given = Given(case)
    loss = TVM(given.times, given, flow_map, detach_jvp=case.config["detach_jvp"])
    terms = loss(case.batch, evaluator)
    yield "terminal", error(terms.parts["terminal"], case["out_terminal"])
    yield "flow matching", error(terms.parts["flow_matching"], case["out_fm"])
    yield "loss", error(terms.total, case["out_loss"])
    terms.total.mean().backward()
    parameters = dict(network.named_parameters())
    gradients = from_release(case.under("grad/"))
    for name, gradient in gradients.items():
        ours = parameters.pop(name).grad
        yield f"gradient {name}", error(torch.zeros(()) if ours is None else ours, gradient)
    for name in parameters:
        yield f"gradient {name} (not in the file)", float("inf")


@torch.no_grad()
def _samples(case: Case, network: DiT, flow_map: FlowMap) -> Iterator[Comparison]:
    field = NetworkField(copy.deepcopy(network), flow_map)
    for nfe in (1, 3):
        c, w = case["labels"], case["beta"].reciprocal()
        samples = FlowMapSampler()(field, case["z"], c, w, nfe)
        yield f"samples, {nfe} NFE", error(samples, case[f"out_sample_{nfe}nfe"])


def main(arguments: list[str]) -> int:
    """Print the comparison and return the exit status."""
    if len(arguments) != 1:
        print("usage: python -m tests.parity CASE.npz", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    worst = 0.0
    try:
        for name, value in compare(path):
            worst = max(worst, value) if value == value else float("inf")
            print(f"{value:9.2e}  {'ok ' if value <= TOLERANCE else 'BAD'}  {name}")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as problem:
        print(f"{path}: not a golden file that can be read: {problem}", file=sys.stderr)
        return 2
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
