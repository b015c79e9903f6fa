"""Compiled steps against eager ones, on a network of two linear blocks."""

import logging
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.exc import Unsupported
from torch._inductor import config as inductor_config

from framework import flow
from framework.passes import Inputs, Passes, block_forward
from framework.protocols import Batch, Conditions, LossTerms, Query, Tangent
from framework.training import compilation
from framework.training.compilation import (
    WORTH_COMPILING,
    compile_steps,
    compiled_passes,
    sampling_passes,
)
from framework.training.lean_graphs import lean_graphs
from framework.training.sampling import field_of
from framework.training.settings import Train
from framework.training.trainer import Trainer
from tests import parity
from tests.framework.training.small import trainer_of
from tests.framework.training.stand_ins import Constant, Data

needs_compiler = pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("g++")), reason="torch.compile needs a C++ compiler"
)


class Block(nn.Module):
    def __init__(self, breaks):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.breaks = breaks

    def forward(self, tokens, condition):
        if self.breaks and float(tokens.sum()) > 1e9:  # a value of the data decides: no graph
            return tokens
        return tokens + self.linear(tokens * condition).tanh()


class Net(nn.Module):
    def __init__(self, shape, num_classes, breaks=False):
        super().__init__()
        self.blocks = nn.ModuleList(Block(breaks) for _ in range(2))

    def initialize(self, generators):
        for name, parameter in self.named_parameters():
            nn.init.normal_(parameter, std=0.5, generator=generators(name))

    def embed(self, x, t, s, c, w):
        return x, torch.stack([t, s, t * s, w], dim=-1)

    def head(self, tokens, condition):
        return tokens * condition

    def forward(self, x, t, s, c, w):
        raise NotImplementedError


class Linear:
    def gamma(self, t, s, w):
        return s - t

    def dgamma_ds(self, t, s, w):
        return torch.ones_like(t)


class Loss:
    """Uses a derivative with gradient, a plain pass with gradient and one without."""

    flow_map = Linear()
    guidance = None

    def averages(self):
        return {"target": Constant()}

    def __call__(self, batch, evaluate):
        t, s = batch.uniform("time", 2).float().unbind(1)
        to = Conditions(batch.labels, torch.ones_like(t))
        a, b = evaluate(
            Query(batch.x0, t, s, to.c, to.w, tangent=Tangent(s=torch.ones_like(s))),
            Query(batch.noise, s, s, to.c, to.w),
        )
        (c,) = evaluate(Query(a.F.detach(), s, s, to.c, to.w, weights="target", gradient=False))
        change = flow.derivative(self.flow_map, a.F, a.derivative, t, s, to.w)
        return LossTerms((change - c.F).square().sum(1) + (b.F - batch.noise).square().sum(1))


def trainer(breaks=False, **changes):
    settings = Train(
        model=partial(Net, breaks=breaks),
        loss=Loss(),
        optimizer=partial(torch.optim.AdamW, lr=0.01),
        schedule=Constant(),
        dataset=Data(),
        evaluation_average=Constant(),
        steps=STEPS,
        batch_size=5,
        **changes,
    )
    return Trainer(settings, torch.device("cpu"))


def batch(seed):
    g = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, 5, 4, generator=g)
    u = torch.rand(5, 2, generator=g, dtype=torch.float64)
    return Batch(x0, noise, torch.zeros(5, dtype=torch.long), 2, lambda stream, width: u)


STEPS = 50


def trained(trainer):
    for seed in range(STEPS):
        trainer.train_step(batch(seed))
    losses = [values["loss/total"] for _, values in trainer.recorder.history(STEPS)]
    return losses, dict(trainer.model.named_parameters())


@needs_compiler
def test_compiled_and_eager_steps_agree():
    compiled = trainer()
    assert compile_steps(compiled, batch(0))
    torch.testing.assert_close(trained(compiled), trained(trainer()), rtol=1e-4, atol=1e-5)


@needs_compiler
def test_what_cannot_be_compiled_runs_plain_with_one_warning_that_names_it(caplog):
    odd = trainer(breaks=True)
    with caplog.at_level(logging.WARNING):
        assert not compile_steps(odd, batch(0))
        weights = trained(odd)
    (record,) = [r for r in caplog.records if r.name.startswith("framework")]
    assert "going on without" in record.message
    assert "test_compilation.py" in record.message
    torch.testing.assert_close(weights, trained(trainer()))


def test_what_cannot_be_combined_is_compiled_apart(monkeypatch, caplog):
    tried = []

    def backend(graph, inputs):
        tried.append(inductor_config.combo_kernels)
        if tried[-1]:
            raise RuntimeError("this combination has no code")
        return graph

    monkeypatch.setattr(compilation, "compiled_passes", partial(compiled_passes, backend))
    with caplog.at_level(logging.INFO):
        assert compile_steps(trainer(), batch(0))
    assert set(tried) == {True, False}
    (said,) = [r for r in caplog.records if r.name.startswith("framework")]
    assert said.levelname == "INFO" and "this combination has no code" in said.getMessage()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, Unsupported])
def test_what_has_nothing_to_do_with_kernels_is_tried_once(monkeypatch, error):
    tried = []

    def backend(graph, inputs):
        tried.append(inductor_config.combo_kernels)
        raise error("no more")

    monkeypatch.setattr(compilation, "compiled_passes", partial(compiled_passes, backend))
    assert not compile_steps(trainer(), batch(0))
    assert tried == [True]


def test_samples_are_compiled_apart_where_kernels_cannot_be_combined(monkeypatch):
    real, tried = torch.compile, []

    def backend(graph, inputs):
        tried.append(inductor_config.combo_kernels)
        if tried[-1]:
            raise RuntimeError("this combination has no code")
        return graph

    monkeypatch.setattr(torch, "compile", lambda f, **given: real(f, backend=backend, **given))
    network, settings = trainer().model, trainer(compile=True).settings
    passes = sampling_passes(network, settings, torch.device("cpu"), 5, WORTH_COMPILING)
    assert set(tried) == {True, False}
    assert passes.block_forward is not block_forward


def of_the_paper(detached=False):
    trainer, batches = trainer_of("train.precision = 'bf16'", f"losses.tvm.detach_jvp = {detached}")
    return trainer, batches.at(1)


@pytest.mark.parametrize(
    "made", [lambda: (trainer(), batch(0)), of_the_paper, partial(of_the_paper, detached=True)]
)
def test_all_blocks_share_one_compilation_of_each_kind(made):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    network, tried = made()
    network.use(compiled_passes(backend))
    network.try_step(tried)
    # Embedding, blocks and head of the pair, and those of the pass without gradient.
    assert len(graphs) == 6


def test_many_networks_are_compiled_in_one_process():
    for size in range(2, 12):  # PyTorch stops at eight graphs of a function
        passes = compiled_passes("eager")
        passes.block_forward(nn.Bilinear(size, size, size), *torch.ones(2, 3, size))


class Masked(nn.Module):
    def forward(self, tokens, condition):
        x, mask = tokens
        return (x * condition).where(mask, x), mask


def test_masks_go_from_block_to_block_in_compiled_passes():
    net = Net((4,), 2)
    net.blocks = nn.ModuleList(Masked() for _ in range(2))
    net.embed = lambda x, t, s, c, w: ((x, x > 0), torch.stack([t, s, t * s, w], dim=-1))
    net.head = lambda tokens, condition: tokens[0]
    x, t = torch.linspace(-1, 1, 12).view(3, 4), torch.linspace(0.1, 1, 3)
    inputs = Inputs(x, t, t / 2, t, t)
    found = [passes.plain(net, inputs) for passes in (compiled_passes("eager"), Passes())]
    torch.testing.assert_close(*found)


def test_a_model_without_blocks_runs_as_it_is_with_a_warning(caplog):
    whole = trainer()
    del whole.model.blocks
    with caplog.at_level(logging.WARNING):
        compile_steps(whole, batch(0))
    assert "Net comes without blocks" in caplog.text


def test_golden_numbers_hold_with_compiled_passes():
    # The compiler's front half: tracing, tangents, joined products, what the backward pass keeps.
    golden = Path(parity.__file__).parent / "golden" / "tvm_scaled_const_w.npz"
    with lean_graphs():
        passes = compiled_passes("aot_eager_decomp_partition")
        errors = dict(parity.compare(golden, passes=passes))
    assert not {name: value for name, value in errors.items() if not value <= parity.TOLERANCE}


@pytest.fixture
def traced(monkeypatch):
    """Compile without a compiler; the shapes of what was compiled."""
    shapes = []

    def backend(graph, inputs):
        shapes.append([tuple(x.shape) for x in inputs])
        return graph

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return shapes


WHOLE = 6


def passes_of(trainer, evaluations=10**6):
    device = torch.device("cpu")
    return sampling_passes(trainer.model, trainer.settings, device, WHOLE, evaluations)


def jumped(trainer, passes, size):
    field = field_of(trainer.model, trainer.settings, torch.device("cpu"), passes)
    x, t = torch.linspace(-1, 1, size * 4).view(size, 4), torch.full((size,), 0.5)
    with torch.no_grad():
        return field.displacement(x, t, 0 * t, torch.zeros(size, dtype=torch.long), t)


def test_samples_are_drawn_compiled_in_whole_batches(traced):
    compiling = trainer(compile=True)
    passes = passes_of(compiling)
    assert len(traced) == 1  # tried before the first sample
    for size in (WHOLE, WHOLE, WHOLE - 1):
        torch.testing.assert_close(jumped(compiling, passes, size), jumped(compiling, None, size))
    assert len(traced) == 1
    assert (WHOLE, 4) in traced[0]


def test_few_samples_and_runs_that_do_not_compile_are_drawn_plainly(traced):
    for passes in (passes_of(trainer(compile=True), evaluations=100), passes_of(trainer())):
        jumped(trainer(), passes, WHOLE)
    assert not traced


def test_samples_are_drawn_plainly_where_compiling_fails(traced, caplog):
    odd = trainer(breaks=True, compile=True)
    with caplog.at_level(logging.WARNING):
        passes = passes_of(odd)
    assert "sampling without, since compiling failed" in caplog.text
    torch.testing.assert_close(jumped(odd, passes, WHOLE), jumped(odd, None, WHOLE))
