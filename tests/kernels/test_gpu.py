"""The kernels on a GPU, at full size: accuracy, modes, layouts, devices and memory.

Most of the time is compilation: `python -m pytest tests/kernels/test_gpu.py -n 8` where
pytest-xdist is installed.
"""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import kernels
from kernels import hopper, launch, tuning
from kernels.ops import backward_op, forward_op

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
LIMIT = {torch.float32: 2e-5, torch.float16: 5e-4, torch.bfloat16: 3e-3}
HOPPER = (
    torch.cuda.is_available()
    and hopper.capability(torch.device("cuda")) == (9, 0)
    and hopper.kernel() is not None
)


def error(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


def draw(B, H, Nq, Nk, D, dtype, size=1.0, seed=0):
    g = torch.Generator("cuda").manual_seed(seed)
    xs = [
        torch.randn(B, H, n, D, device="cuda", dtype=torch.float64, generator=g)
        for n in (Nq, Nk, Nk, Nq, Nk, Nk, Nq, Nq)
    ]
    xs[0], xs[1] = xs[0] * size, xs[1] * size
    return [x.to(dtype) for x in xs]


def results(attend, xs, cotangents):
    """Outputs and gradients; None among the inputs or cotangents is left out."""
    leaves = [None if x is None else x.detach().requires_grad_() for x in xs]
    outputs = attend(*leaves)
    given = [(y, g) for y, g in zip(outputs, cotangents) if g is not None]
    grads = torch.autograd.grad(
        [y for y, _ in given], [x for x in leaves if x is not None], [g for _, g in given],
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    return [*outputs, *grads]


def compare(xs, *, causal=False, limit=None):
    found = results(lambda *ys: kernels.attention_jvp(*ys, causal=causal), xs[:6], xs[6:])
    wide = [None if x is None else x.double() for x in xs]
    expected = results(
        lambda *ys: kernels.dense_attention_jvp(*ys, causal=causal), wide[:6], wide[6:]
    )
    assert all(torch.isfinite(x).all() for x in found)
    errors = [error(a, b) if b.norm() > 0 else a.norm().item() for a, b in zip(found, expected)]
    print([f"{e:.1e}" for e in errors])
    assert max(errors) <= (limit or LIMIT[xs[0].dtype]), errors


@pytest.mark.parametrize(
    ("dtype", "D", "causal"),
    [
        (torch.bfloat16, 16, False), (torch.bfloat16, 64, False), (torch.bfloat16, 64, True),
        (torch.bfloat16, 72, False), (torch.bfloat16, 96, True), (torch.bfloat16, 128, True),
        (torch.bfloat16, 192, False), (torch.bfloat16, 256, True),
        (torch.float16, 64, True), (torch.float16, 128, False),
        (torch.float32, 64, True), (torch.float32, 72, False), (torch.float32, 256, False),
    ],
)  # fmt: skip
def test_accuracy(dtype, D, causal):
    compare(draw(2, 3, 300, 333, D, dtype), causal=causal)


@pytest.mark.parametrize(
    ("dtype", "D"),
    [
        (torch.bfloat16, 64), (torch.bfloat16, 128),
        (torch.float16, 64), (torch.float16, 128), (torch.float32, 64),
    ],
)  # fmt: skip
def test_large_logits(dtype, D):
    # A tensor core adds 16 products at a time in float32 and cuts off: D / 16 errors of up to
    # 2^-23 of logits that reach 4000, in P and all that follows. 16 bits of P hide that in
    # bfloat16; float16 shows it, whatever the formulas.
    limit = 1.5e-3 if dtype == torch.float16 else None
    compare(draw(1, 4, 1024, 1024, D, dtype, size=30.0), limit=limit)


@pytest.mark.skipif(not HOPPER, reason="needs a Hopper GPU and the Gluon kernel's Triton")
@pytest.mark.parametrize(
    ("B", "H", "N", "dtype", "size"),
    [
        (1, 2, 1024, torch.bfloat16, 1.0), (2, 3, 1152, torch.float16, 1.0),
        (1, 2, 1024, torch.bfloat16, 30.0),  # sharp: rows with flags in mu
    ],
)  # fmt: skip
def test_key_pass_in_gluon(B, H, N, dtype, size):
    options = launch.Options(128**-0.5, False, False)
    for seed in (0, 1):  # the second launch is one of a kept plan
        xs = draw(B, H, N, N, 128, dtype, size, seed)
        inputs = launch.inputs_of(*xs[:6])
        outputs = launch.Outputs(*launch.run_forward(inputs, options), *xs[6:])
        sums = launch.run_query_pass(inputs, outputs, options)[2]
        ours, tritons = launch.empty_key_grads(inputs), launch.empty_key_grads(inputs)
        for x in (*ours, *tritons):
            x.fill_(float("nan"))  # shows what is not written
        tensors = (*xs, ours.dk, ours.dtk)
        statistics = (outputs.lse, outputs.mu, *sums)
        assert hopper.takes(hopper.capability(xs[0].device), False, tensors, statistics)
        launch.run_key_pass("key_k", inputs, outputs, sums, ours, options)
        settings = tuning.choose(launch.case_of("key_k", inputs, options))
        launch.run_key_pass("key_k", inputs, outputs, sums, tritons, options, settings)
        wide = [x.double() for x in xs]
        exact = results(kernels.dense_attention_jvp, wide[:6], wide[6:])
        for found, other, expected in (
            (ours.dk, tritons.dk, exact[3]), (ours.dtk, tritons.dtk, exact[6]),
        ):  # fmt: skip
            print(f"{error(found, expected):.1e} {error(found, other.double()):.1e}")
            assert error(found, expected) <= LIMIT[dtype]
            assert error(found, other.double()) <= LIMIT[dtype]
        assert torch.isnan(ours.dv).all() and torch.isnan(ours.dtv).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_long_rows(dtype):
    compare(draw(1, 1, 128, 16384, 64, dtype))


@pytest.mark.parametrize(("Nq", "Nk"), [(1, 5), (5, 1), (1, 1)])
def test_few_tokens(Nq, Nk):
    # With one key P is 1 and the gradients of q and k are zero but for rounding.
    xs = draw(2, 400, Nq, Nk, 64, torch.bfloat16)
    if Nk > 1:
        return compare(xs)
    o, to = kernels.attention_jvp(*xs[:6])
    assert error(o, xs[2].double().expand_as(o)) < 1e-6
    assert error(to, xs[5].double().expand_as(to)) < 1e-6
    return None


@pytest.mark.parametrize("absent", [(3,), (4, 5), (3, 4), (6,), (7,)])
def test_missing_tangents_and_cotangents(absent):
    xs = draw(1, 2, 200, 150, 64, torch.bfloat16)
    compare([None if i in absent else x for i, x in enumerate(xs)], causal=True)


def test_empty_batch():
    xs = [x[:0] for x in draw(1, 2, 64, 64, 64, torch.bfloat16)]
    assert all(x.numel() == 0 for x in results(kernels.attention_jvp, xs[:6], xs[6:]))


def test_rows_that_the_copy_engine_cannot_read():
    # Two bytes off 16-byte alignment, and a batch of stride 0: pointers instead of descriptors.
    wide = draw(1, 2, 1024, 1024, 72, torch.bfloat16)
    compare([x[..., 1:65] for x in wide])
    compare([x[:, :1, :, :64].expand(1, 2, 1024, 64) for x in wide])


def test_tokens_first_and_packed_inputs():
    for D, dtype in ((64, torch.bfloat16), (72, torch.float16)):
        packed = torch.randn(2, 200, 6, 3, D, device="cuda", dtype=dtype)
        six = [x.transpose(1, 2) for x in packed.unbind(2)]
        compare([*six, *draw(2, 3, 200, 200, D, dtype)[6:]])


def test_tf32_only_on_request():
    xs = draw(1, 2, 256, 256, 64, torch.float32)[:6]
    exact, _ = kernels.dense_attention_jvp(*[x.double() for x in xs])
    assert error(kernels.attention_jvp(*xs)[0], exact) < 2e-5
    assert 2e-5 < error(kernels.attention_jvp(*xs, tf32=True)[0], exact) < 3e-3


def jvp_of(attend, primals, tangents):
    return torch.func.jvp(attend, primals, tangents)


def dual_of(attend, primals, tangents):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, t) for x, t in zip(primals, tangents)]
        return tuple(forward_ad.unpack_dual(attend(*duals)))


def loss_of(mode, attend, tangents):
    def loss(q, k, v):
        o, to = mode(attend, (1.5 * q, k, v), tangents)
        return (o.float().sin() + to.float().cos()).sum()

    return loss


def reverse(loss, primals):
    leaves = [x.detach().requires_grad_() for x in primals]
    return torch.autograd.grad(loss(*leaves), leaves)


def checkpointed(loss, primals):
    return reverse(lambda *xs: checkpoint(loss, *xs, use_reentrant=False), primals)


def functional(loss, primals):
    return torch.func.grad(loss, argnums=(0, 1, 2))(*primals)


class TestModes:
    """float32 against the dense backend, so that only a wrong rule can differ."""

    xs = property(lambda self: draw(2, 2, 100, 130, 64, torch.float32))

    def assert_same(self, found, expected):
        for a, b in zip(found, expected, strict=True):
            assert error(a, b.double()) < 2e-5

    def test_plain(self):
        q, k, v = self.xs[:3]
        self.assert_same([kernels.attention(q, k, v)], [kernels.dense_attention(q, k, v)])

    @pytest.mark.parametrize("mode", [jvp_of, dual_of])
    def test_forward(self, mode):
        primals, tangents = tuple(self.xs[:3]), tuple(self.xs[3:6])
        expected = jvp_of(kernels.dense_attention, primals, tangents)
        self.assert_same(mode(kernels.attention, primals, tangents), expected)

    @pytest.mark.parametrize("mode", [jvp_of, dual_of])
    @pytest.mark.parametrize("way", [reverse, checkpointed, functional])
    def test_reverse_over_forward(self, mode, way):
        if mode is dual_of and way is not reverse:
            pytest.skip("torch has no forward_ad inside torch.func.grad or a checkpoint")
        primals, tangents = tuple(self.xs[:3]), tuple(self.xs[3:6])
        expected = reverse(loss_of(jvp_of, kernels.dense_attention, tangents), primals)
        self.assert_same(way(loss_of(mode, kernels.attention, tangents), primals), expected)

    @pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
    def test_compiled_whole(self, backend):
        primals, tangents = tuple(self.xs[:3]), tuple(self.xs[3:6])
        loss = loss_of(jvp_of, kernels.attention, tangents)
        compiled = torch.compile(loss, fullgraph=True, backend=backend)
        expected = reverse(loss_of(jvp_of, kernels.dense_attention, tangents), primals)
        self.assert_same(reverse(compiled, primals), expected)

    def test_opcheck(self):
        xs = draw(1, 2, 70, 50, 64, torch.float32)
        options = (0.125, False, False)
        torch.library.opcheck(forward_op, (*[x.requires_grad_() for x in xs[:6]], *options))
        fixed = [x.detach() for x in xs[:6]]
        saved = forward_op(*fixed, *options)
        torch.library.opcheck(backward_op, (*xs[6:], *fixed, *saved, *options))


def test_repeats_bit_for_bit():
    xs = draw(2, 2, 500, 500, 64, torch.bfloat16)
    first, second = (results(kernels.attention_jvp, xs[:6], xs[6:]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_second_gpu():
    xs = [x.to("cuda:1") for x in draw(1, 2, 128, 128, 64, torch.bfloat16)]
    compare(xs)


@pytest.mark.parametrize(
    ("shape", "MiB"),
    [((32, 18, 256, 64), 146.25), ((8, 18, 1024, 64), 146.25), ((1, 24, 8192, 128), 387.0)],
)
def test_peak_memory_is_outputs_gradients_and_statistics(shape, MiB):
    B, H, N, D = shape
    xs = draw(B, H, N, N, D, torch.bfloat16)
    leaves = [x.requires_grad_() for x in xs[:6]]
    torch.cuda.empty_cache()  # a cached block is handed out whole where it is a little too large
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outputs = kernels.attention_jvp(*leaves)
    torch.autograd.grad(outputs, leaves, xs[6:])
    # 8 tensors of 18 or 48 MiB and 4 numbers a query.
    assert (torch.cuda.max_memory_allocated() - before) / 2**20 <= MiB
