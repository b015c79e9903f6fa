"""Checks of the Triton kernels in Triton's interpreter, as a program of its own.

The interpreter is chosen when the kernels are imported (TRITON_INTERPRET=1), which must not
happen to the process that runs the other tests: `test_interpreted.py` runs this file with
pytest in a second process.
"""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

import kernels
from kernels import tuning
from kernels.ops import backward_op, forward_op

NAMES = ("o", "to", "dq", "dk", "dv", "dtq", "dtk", "dtv")
# Relative Frobenius errors against float64. float32 without tf32; 16 bits as the issue asks.
LIMIT = {torch.float32: 2e-5, torch.float16: 5e-4, torch.bfloat16: 3e-3}


def error(found: Tensor, expected: Tensor) -> float:
    scale = expected.double().norm().item()
    distance = (found.double() - expected.double()).norm().item()
    return distance / scale if scale > 1e-10 else distance


def draw(B, H, Nq, Nk, D, dtype, *, seed=0, size=1.0, present=(True, True, True)):
    """q, k, v, tangents (None where absent), do, dto."""
    g = torch.Generator().manual_seed(seed)
    lengths = (Nq, Nk, Nk, Nq, Nk, Nk, Nq, Nq)
    xs = [torch.randn(B, H, n, D, generator=g, dtype=torch.float64) for n in lengths]
    xs[0], xs[1] = xs[0] * size, xs[1] * size
    xs = [x.to(dtype) for x in xs]
    tangents = [x if there else None for x, there in zip(xs[3:6], present)]
    return xs[:3], tangents, xs[6:]


def outputs_and_grads(attend, primals, tangents, cotangents):
    leaves = [x.detach().requires_grad_() for x in primals]
    tangent_leaves = [None if t is None else t.detach().requires_grad_() for t in tangents]
    o, to = attend(*leaves, *tangent_leaves)
    wanted = [x for x in (*leaves, *tangent_leaves) if x is not None]
    pairs = [(y, g) for y, g in zip((o, to), cotangents) if g is not None]
    grads = torch.autograd.grad(
        [y for y, _ in pairs], wanted, [g for _, g in pairs],
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    return [o, to, *grads]


def compare(primals, tangents, cotangents, *, causal=False, scale=None, limit=None):
    """All outputs and gradients against dense float64."""
    wide = [[None if x is None else x.double() for x in xs] for xs in (primals, tangents)]
    expected = outputs_and_grads(
        lambda *xs: kernels.dense_attention_jvp(*xs, causal=causal, scale=scale),
        *wide, [None if g is None else g.double() for g in cotangents],
    )  # fmt: skip
    found = outputs_and_grads(
        lambda *xs: kernels.attention_jvp(*xs, causal=causal, scale=scale),
        primals, tangents, cotangents,
    )  # fmt: skip
    limit = limit or LIMIT[primals[0].dtype]
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected)):
        assert a.shape == b.shape
        assert torch.isfinite(a).all()
        assert error(a, b) <= limit, f"result {i}: {error(a, b):.2e} > {limit:.0e}"


def test_auto_takes_the_kernels_when_interpreted():
    assert kernels.auto_choice(torch.zeros(1, 1, 2, 4))[0] == "flash_jvp"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_all_results_match_float64(dtype, causal):
    compare(*draw(1, 1, 70, 83, 64, dtype), causal=causal)


@pytest.mark.parametrize("present", list(itertools.product([True, False], repeat=3))[:-1])
def test_missing_tangents(present):
    compare(*draw(1, 1, 33, 50, 16, torch.float32, present=present), causal=True)


@pytest.mark.parametrize("without", [0, 1])
def test_only_one_cotangent(without):
    primals, tangents, cotangents = draw(1, 1, 40, 34, 24, torch.float32)
    cotangents[without] = None
    compare(primals, tangents, cotangents)


def test_tensor_descriptors():
    # The interpreter reads through descriptors too: the same kernels, as a GPU runs them.
    primals, tangents, cotangents = draw(1, 2, 40, 70, 72, torch.float16)
    before = tuning.export()
    case = tuning.Case("forward", "interpreter", torch.float16, 128, 128, True, 3)
    for kernel in ("forward", "query", "key_k", "key_v"):
        tuning.record(replace(case, kernel=kernel), tuning.Settings(32, 16, 4, 1, 1))
    compare(primals, tangents, cotangents, causal=True)
    tuning.load(before)


@pytest.mark.parametrize(
    ("D", "dtype"),
    [
        (1, torch.float32), (40, torch.float32), (72, torch.float16), (128, torch.float32),
        (256, torch.float32),
    ],
)  # fmt: skip
def test_head_sizes(D, dtype):
    compare(*draw(1, 1, 20, 35, D, dtype))


@pytest.mark.parametrize(("Nq", "Nk"), [(1, 1), (1, 40), (40, 1), (33, 32)])
def test_token_counts(Nq, Nk):
    compare(*draw(1, 1, Nq, Nk, 16, torch.float32), causal=True)


def test_sharp_softmax_keeps_its_accuracy():
    # Logits of size 900. A few rows with two near keys decide, so that the rounding of their bf16
    # entries does not average out; without exact row sums dq' would be off by far more.
    compare(*draw(1, 1, 96, 64, 64, torch.bfloat16, size=30.0), limit=6e-3)


def test_sharp_softmax_in_float32():
    # In float32 sums of size 900 alone would put 3e-4 into dq.
    compare(*draw(1, 1, 64, 64, 64, torch.float32, size=30.0))


def test_one_query_with_few_keys():
    # Many heads, so that roundings average out; row sums from a rounded o would give 3.6e-3.
    compare(*draw(1, 24, 1, 5, 16, torch.bfloat16))


def test_scale_is_used():
    compare(*draw(1, 1, 20, 20, 16, torch.float32), scale=0.03)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    B=st.integers(1, 2), H=st.integers(1, 2), Nq=st.integers(1, 50), Nk=st.integers(1, 50),
    D=st.sampled_from([3, 8, 16, 24]), causal=st.booleans(),
    layout=st.sampled_from(["as is", "tokens first", "packed", "rows apart"]),
    dtype=st.sampled_from([torch.float32, torch.float16]), seed=st.integers(0, 99),
)  # fmt: skip
def test_property_shapes_strides_dtypes(B, H, Nq, Nk, D, causal, layout, dtype, seed):
    def lay_out(x):
        if layout == "tokens first":
            return x.transpose(1, 2).contiguous().transpose(1, 2)
        if layout == "packed":
            return torch.stack([x, x, x], dim=3).unbind(3)[1]
        if layout == "rows apart":
            return x.transpose(2, 3).contiguous().transpose(2, 3)
        return x

    primals, tangents, cotangents = draw(B, H, Nq, Nk, D, dtype, seed=seed)
    primals = [lay_out(x) for x in primals]
    tangents = [lay_out(x) for x in tangents]
    # A handful of float16 numbers does not average its rounding out; and with one or two keys the
    # softmax hardly depends on the scores: relative errors of gradients that are nearly zero.
    few = 1e-2 if Nk < 3 else 2e-3 if dtype == torch.float16 else None
    compare(primals, tangents, cotangents, causal=causal, limit=few)


def test_expanded_cotangent():
    primals, tangents, _ = draw(1, 2, 20, 20, 16, torch.float32)
    one = torch.ones(()).expand(1, 2, 20, 16)
    compare(primals, tangents, [one, one])


@pytest.mark.parametrize("shape", [(0, 2, 4, 8), (2, 0, 4, 8), (2, 2, 0, 8)])
def test_empty(shape):
    xs = [torch.zeros(shape, requires_grad=True) for _ in range(6)]
    o, to = kernels.attention_jvp(*xs)
    assert o.shape == to.shape == shape
    for grad in torch.autograd.grad((o.sum() + to.sum()), xs):
        assert grad.shape == shape


def test_gradients_follow_the_layout_of_their_tensors():
    tokens_first = [torch.randn(2, 9, 3, 16).transpose(1, 2).requires_grad_() for _ in range(6)]
    o, to = kernels.attention_jvp(*tokens_first)
    assert o.transpose(1, 2).is_contiguous()
    for grad in torch.autograd.grad(o.sum() + to.sum(), tokens_first):
        assert grad.transpose(1, 2).is_contiguous()


class TestModes:
    """The front under torch's transforms; values against the dense backend."""

    @pytest.fixture()
    def tensors(self):
        primals, tangents, _ = draw(1, 2, 20, 24, 16, torch.float32)
        return tuple(primals), tuple(tangents)

    @staticmethod
    def loss(attend, tangents):
        def run(q, k, v):
            o, to = torch.func.jvp(lambda q, k, v: attend(1.5 * q, k, v), (q, k, v), tangents)
            return (o.sin() + to.cos()).sum()

        return run

    def gradient(self, run, primals):
        leaves = [x.clone().requires_grad_() for x in primals]
        return torch.autograd.grad(run(*leaves), leaves)

    def assert_same(self, found, expected):
        for a, b in zip(found, expected, strict=True):
            assert error(a, b) < 1e-5

    def test_plain(self, tensors):
        q, k, v = tensors[0]
        plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        assert torch.equal(kernels.attention(q, k, v), plain)

    def test_func_jvp(self, tensors):
        found = torch.func.jvp(kernels.attention, *tensors)
        self.assert_same(found, torch.func.jvp(kernels.dense_attention, *tensors))

    def test_forward_ad(self, tensors):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(x, t) for x, t in zip(*tensors)]
            found = forward_ad.unpack_dual(kernels.attention(*duals))
        self.assert_same(found, torch.func.jvp(kernels.dense_attention, *tensors))

    def test_one_constant_input(self, tensors):
        (q, k, v), (tq, _, tv) = tensors
        found, expected = (
            torch.func.jvp(lambda q, v, attend=attend: attend(q, k, v), (q, v), (tq, tv))
            for attend in (kernels.attention, kernels.dense_attention)
        )
        self.assert_same(found, expected)

    def test_reverse_over_jvp(self, tensors):
        primals, tangents = tensors
        found = self.gradient(self.loss(kernels.attention, tangents), primals)
        expected = self.gradient(self.loss(kernels.dense_attention, tangents), primals)
        self.assert_same(found, expected)

    def test_functional_reverse_over_jvp(self, tensors):
        primals, tangents = tensors
        found, expected = (
            torch.func.grad(self.loss(attend, tangents), argnums=(0, 1, 2))(*primals)
            for attend in (kernels.attention, kernels.dense_attention)
        )
        self.assert_same(found, expected)

    def test_compiled_whole(self, tensors):
        primals, tangents = tensors
        run = self.loss(kernels.attention, tangents)
        compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
        self.assert_same(self.gradient(compiled, primals), self.gradient(run, primals))

    def test_checkpointed(self, tensors):
        primals, tangents = tensors
        run = self.loss(kernels.attention, tangents)

        def recomputed(*xs):
            return torch.utils.checkpoint.checkpoint(run, *xs, use_reentrant=False)

        self.assert_same(self.gradient(recomputed, primals), self.gradient(run, primals))

    def test_bit_for_bit_repeatable(self, tensors):
        primals, tangents = tensors
        run = self.loss(kernels.attention, tangents)
        for a, b in zip(self.gradient(run, primals), self.gradient(run, primals)):
            assert torch.equal(a, b)


class TestRefusals:
    """What has no rule raises NotImplementedError."""

    q, k, v, t = (torch.randn(1, 1, 4, 8) for _ in range(4))

    def test_nested_forward_mode(self):
        def inner(q):
            return torch.func.jvp(lambda q: kernels.attention(q, self.k, self.v), (q,), (self.t,))

        with pytest.raises(NotImplementedError, match="nested"):
            torch.func.jvp(lambda q: inner(q)[1], (self.q,), (self.t,))

    def test_forward_mode_around_explicit_tangents(self):
        def run(q):
            return kernels.attention_jvp(q, self.k, self.v, self.t, None, None)[1]

        with pytest.raises(NotImplementedError, match="nested"):
            torch.func.jvp(run, (self.q,), (self.t,))

    @pytest.mark.parametrize("tangent", [True, False])
    def test_vmap(self, tangent):
        def run(q):
            if tangent:
                return kernels.attention_jvp(q, self.k, self.v, self.t, None, None)[1]
            return kernels.attention(q, self.k, self.v)

        with pytest.raises(NotImplementedError, match="vmap"):
            torch.vmap(run)(self.q[None])

    def test_second_reverse_pass(self):
        q = self.q.clone().requires_grad_()
        _, to = kernels.attention_jvp(q, self.k, self.v, self.t, None, None)
        (grad,) = torch.autograd.grad(to.sum(), q, create_graph=True)
        with pytest.raises(NotImplementedError, match="second reverse"):
            torch.autograd.grad(grad.sum(), q)

    def test_scale_that_is_not_positive(self):
        with pytest.raises(NotImplementedError, match="scale"):
            kernels.flash_attention(self.q, self.k, self.v, scale=0.0)

    def test_float64(self):
        wide = self.q.double()
        with pytest.raises(TypeError, match="dense"):
            kernels.flash_attention(wide, wide, wide)

    def test_head_size(self):
        large = torch.zeros(1, 1, 2, 257)
        with pytest.raises(ValueError, match="256"):
            kernels.flash_attention(large, large, large)


def test_tuning_records_the_fastest():
    primals, tangents, _ = draw(1, 1, 16, 16, 16, torch.float32)
    slow, fast = tuning.Settings(16, 16, 4, 1), tuning.Settings(32, 32, 4, 1)
    times = itertools.cycle([3.0, 2.0, 1.0])

    def timer(run):
        run()
        return next(times)

    found = kernels.tune(*primals, *tangents, timer=timer, among=lambda case: [slow, fast])
    assert found == {"forward": fast, "query": fast, "key": fast}
    assert all("interpreter/" in key for key in tuning.export())
    tuning.clear()


@pytest.mark.parametrize("present", [(True, True, True), (True, False, True)])
def test_opcheck(present):
    primals, tangents, cotangents = draw(1, 2, 10, 12, 16, torch.float32, present=present)
    leaves = [None if x is None else x.requires_grad_() for x in (*primals, *tangents)]
    options = (0.25, True, False)
    torch.library.opcheck(forward_op, (*leaves, *options))
    fixed = [None if x is None else x.detach() for x in leaves]
    saved = forward_op(*fixed, *options)
    torch.library.opcheck(backward_op, (*cotangents, *fixed, *saved, *options))
