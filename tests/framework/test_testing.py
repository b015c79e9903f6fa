from dataclasses import replace

import pytest
import torch
from torch import nn

from framework import UserError, register, registry
from framework.kinds import KINDS
from framework.protocols import Examples, FlowMap, LossTerms, Query, Sampler, Score, Tangent, Times
from framework.testing import _CHECKS, check_component
from framework.testing.building import Pictures


@pytest.fixture(autouse=True)
def isolated(monkeypatch):
    monkeypatch.setattr(registry, "_components", {})
    monkeypatch.setattr("framework.plugins._installed_loaded", True)


def findings(kind: str, name: str, **arguments) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        check_component(kind, name, **arguments)
    return str(caught.value).splitlines()


def test_every_kind_has_a_check():
    assert list(_CHECKS) and set(_CHECKS) == set(KINDS)


def test_unknown_names():
    with pytest.raises(UserError, match="no kind is called 'los'; did you mean loss"):
        check_component("los", "x")
    with pytest.raises(UserError, match="no loss is called 'x'"):
        check_component("loss", "x")


def test_a_normalization():
    @register.normalization("good")
    class Good(nn.Module):
        def __init__(self, dim: int, eps: float = 1e-6):
            super().__init__()

        def forward(self, x):
            return x * 2

    @register.normalization("bad")
    class Bad(Good):
        def forward(self, x):
            return x.float().sum(-1).detach()

    check_component("normalization", "good", eps=1e-3, dim=4)
    with pytest.raises(UserError, match=r"has no setting 'epz'; did you mean eps\?"):
        check_component("normalization", "good", epz=1e-3)
    with pytest.raises(UserError, match=r"good\.eps = 'small': should be a valid number"):
        check_component("normalization", "good", eps="small")
    assert findings("normalization", "bad") == [
        "normalizations.bad: forward(x) has the shape (4, 3) instead of (4, 3, 8)",
        "normalizations.bad: forward(x) has the shape (4, 3) instead of (4, 3, 8)",
        "normalizations.bad: forward(x) is torch.float32 instead of torch.bfloat16",
        "normalizations.bad: forward(x) is cut off from its input: no gradient flows",
    ]


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        (torch.round, "changes with time, and its forward-mode derivative is zero"),
        (torch.Tensor.detach, "changes with time, and its forward-mode derivative is zero"),
        (torch.log, "has numbers that are not finite"),
        (lambda time: time.mul_(2), "changes the times that it is given"),
    ],
)
def test_what_a_time_embedding_makes_of_times(features, problem):
    @register.time_embedding("own")
    class Own(nn.Module):
        def __init__(self, hidden_size: int):
            super().__init__()
            self.layer = nn.Linear(1, hidden_size)

        def forward(self, time):
            return self.layer(features(time)[:, None])

    assert findings("time_embedding", "own")[0] == f"time_embeddings.own: forward(time) {problem}"


def test_a_time_embedding_that_is_not_trained():
    @register.time_embedding("untrained")
    class Untrained(nn.Module):
        def __init__(self, hidden_size: int):
            super().__init__()
            self.layer = nn.Linear(1, hidden_size)

        @torch.no_grad()
        def forward(self, time):
            return self.layer(time[:, None])

    assert findings("time_embedding", "untrained") == [
        "time_embeddings.untrained: forward(time) is cut off from its parameters: no gradient flows"
    ]


def test_a_time_sampler():
    @register.time_sampler("backwards")
    class Backwards:
        def __call__(self, u):
            return Times(u[:, 0].float(), torch.rand(len(u)) + 1, u[:, 0])

    assert findings("time_sampler", "backwards") == [
        "time_samplers.backwards: s leaves [0, 1]",
        "time_samplers.backwards: s_velocity is torch.float64 instead of torch.float32",
        "time_samplers.backwards: some t are smaller than their s",
        "time_samplers.backwards: the same uniforms give other times: it draws numbers of its own",
    ]


def test_a_flow_map():
    @register.flow_map("flat")
    class Flat:
        def gamma(self, t, s, w):
            return 1 + t - s

        def dgamma_ds(self, t, s, w):
            return torch.ones_like(t)

    found = findings("flow_map", "flat")
    assert "flow_maps.flat: dgamma_ds is not the derivative of gamma by s" in found
    assert "flow_maps.flat: gamma is not zero where t = s" in found


def test_a_loss_and_what_it_needs():
    @register.flow_map("line")
    class Line:
        def gamma(self, t, s, w):
            return s - t

        def dgamma_ds(self, t, s, w):
            return torch.ones_like(t)

    @register.loss("line_loss")
    class Toy:
        guidance = None

        def __init__(self, flow_map: FlowMap, scale: float = 1.0):
            self.flow_map, self.scale = flow_map, scale

        def averages(self):
            return {}

        def __call__(self, batch, evaluate):
            t, s = torch.ones(len(batch.x0)), torch.zeros(len(batch.x0))
            (found,) = evaluate(
                Query(batch.noise, t, s, batch.labels, t, tangent=Tangent(s=torch.ones_like(s)))
            )
            total = (found.F + found.derivative).square().flatten(1).mean(1) * self.scale
            return LossTerms(total, {"part": total if self.scale > 1 else total.detach()})

    check_component("loss", "line_loss")
    assert findings("loss", "line_loss", scale=2.0) == [
        "losses.line_loss: the part 'part' carries gradient: detach it"
    ]
    assert "losses.line_loss: no gradient reaches the trained weights" in findings(
        "loss", "line_loss", scale=0.0
    )


def a_loss(name, ask=lambda query: query, names=(), answer=lambda found: found):
    """Register a loss by what it asks for, the averages it declares and what it answers."""

    class Made:
        flow_map = guidance = None

        def averages(self):
            return names and dict.fromkeys(names)

        def __call__(self, batch, evaluate):
            ones = torch.ones(len(batch.x0))
            (found,) = evaluate(ask(Query(batch.noise, ones, 0 * ones, batch.labels, ones)))
            return LossTerms(answer(found.F.square().flatten(1).mean(1)), {})

    register.loss(name)(Made)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"t": torch.ones(4, 1)}, "t of shape (4, 1), which has to be (4,)"),
        ({"w": torch.ones(4).double()}, "w in torch.float64, which has to be torch.float32"),
        ({"c": torch.full((4,), 5)}, "classes c outside of 0 to 4, the empty class"),
        ({"x": torch.ones(4, 8, 8)}, "x of shape (4, 8, 8), which has to be (4, 1, 8, 8)"),
        (
            {"tangent": Tangent(s=torch.ones(1))},
            "the tangent of s of shape (1,), which has to be (4,)",
        ),
        ({"weights": "ema"}, "the average 'ema' and declares none such"),
    ],
)
def test_what_a_loss_asks_for(change, problem):
    a_loss("asking", lambda query: replace(query, **change), names=("target",))
    assert findings("loss", "asking") == [f"losses.asking: it asks for {problem}"]


def test_the_gradient_of_a_loss():
    def rare(found):
        large = torch.arange(len(found)) >= 100
        return torch.where(large, found, found.detach())

    a_loss("rare", names=("target",), answer=rare)
    a_loss("steps", names=("target",), answer=torch.round)
    a_loss("drawing", names=("target",), answer=lambda found: found * torch.rand(len(found)))
    a_loss("listing", names=())
    check_component("loss", "rare")
    assert findings("loss", "steps") == ["losses.steps: no gradient reaches the trained weights"]
    assert findings("loss", "drawing") == [
        "losses.drawing: the same batch gives another loss: it draws numbers of its own"
    ]
    assert findings("loss", "listing") == [
        "losses.listing: averages() is a tuple instead of a mapping from names to averages"
    ]


def test_missing_attributes():
    @register.loss("bare")
    class Bare:
        def averages(self):
            return {}

        def __call__(self, batch, evaluate):
            return None

    assert findings("loss", "bare") == [
        "losses.bare: lacks the attribute 'flow_map', which a loss has",
        "losses.bare: lacks the attribute 'guidance', which a loss has",
    ]


def test_settings_without_stand_in():
    @register.schedule("needy")
    class Needy:
        def __init__(self, factor: float):
            self.factor = factor

        def __call__(self, step, steps):
            return self.factor

    check_component("schedule", "needy", factor=0.5)
    with pytest.raises(UserError, match=r"schedules.needy needs factor: pass them to the check"):
        check_component("schedule", "needy")
    assert findings("schedule", "needy", factor=-1.0)[0] == (
        "schedules.needy: its factor at step 1 of 10 is -1.0"
    )


def test_a_metric():
    @register.metric("count")
    class Count:
        def __init__(self, dataset):
            self.dataset = dataset

        def __call__(self, samples, labels):
            return [Score("count", 1.0, "up"), 1.0]

    assert findings("metric", "count") == [
        "metrics.count: the score 'count' has the direction 'up': give 'lower' or 'higher'",
        "metrics.count: it returns a list with a float, not of scores",
    ]


def test_a_metric_leaves_its_samples_as_they_are():
    @register.metric("halving")
    class Halving:
        def __init__(self, dataset):
            pass

        def __call__(self, samples, labels):
            return [Score("half", samples.mul_(0.5).mean(), "lower")]

    assert findings("metric", "halving") == [
        "metrics.halving: it changes the samples that it is given, and other metrics would judge "
        "those"
    ]


def test_a_dataset():
    @register.dataset("plain")
    class Plain(Pictures):
        pass

    @register.dataset("pair")
    class Pair(Pictures):
        def examples(self, indices, u):
            return self._x[indices], self._labels[indices]

        def held_out(self):
            return None

    @register.dataset("other_labels")
    class OtherLabels(Pictures):
        def labels(self):
            return self._labels + 1

    @register.dataset("noisy")
    class Noisy(Pictures):
        def examples(self, indices, u):
            found = super().examples(indices, u)
            return Examples(found.x + torch.randn_like(found.x), found.labels)

    check_component("dataset", "plain")
    assert findings("dataset", "pair") == [
        "datasets.pair: examples is a tuple instead of Examples",
        "datasets.pair: held_out() is a NoneType instead of Examples",
    ]
    assert findings("dataset", "other_labels") == [
        "datasets.other_labels: some labels of labels() are not below num_classes = 4",
        "datasets.other_labels: labels() gives other labels than the examples of the same indices "
        "have",
    ]
    assert findings("dataset", "noisy") == [
        "datasets.noisy: the same index and uniforms give another example: it draws numbers of its "
        "own, or does not go by `indices`"
    ]


def test_a_sampler():
    @register.sampler("greedy")
    class Greedy:
        def __call__(self, field, noise, c, w, nfe):
            times = torch.ones(len(noise)), torch.zeros(len(noise))
            return noise + field.displacement(noise, *times, c, w)

    found = findings("sampler", "greedy")
    assert "samplers.greedy: nfe = 2 takes 1 evaluations" in found
    assert (
        "samplers.greedy: the samples of nfe = 1 is torch.float32 instead of torch.float64" in found
    )


def test_a_component_does_not_stand_in_for_its_own_part():
    @register.sampler("around")
    class Around:
        def __init__(self, sampler: Sampler):
            self.sampler = sampler

        def __call__(self, field, noise, c, w, nfe):
            return self.sampler(field, noise, c, w, nfe)

    with pytest.raises(UserError, match=r"samplers\.around needs sampler"):
        check_component("sampler", "around")

    @register.sampler("within")
    class Within:
        def __call__(self, field, noise, c, w, nfe):
            if nfe is None:
                raise ValueError("how many?")
            x = noise.double()
            for _ in range(nfe):
                x = x - field.velocity(x, w, c, w) / nfe
            return x

    check_component("sampler", "around")
