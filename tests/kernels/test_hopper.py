"""When the key pass is Gluon's, and what its kernel is given, on a machine without a GPU."""

import math

import pytest
import torch

import kernels
from kernels import hopper, launch, layouts

SHAPE = (2, 3, 1024, 128)


def empty(shape=SHAPE, dtype=torch.bfloat16):
    return torch.empty(shape, dtype=dtype, device="meta")


def taken(x=None, *, causal=False, capability=(9, 0), others=None):
    """Whether tensors like x, some of them `others` by index, go to Gluon's kernel."""
    x = empty() if x is None else x
    tensors = [(others or {}).get(i, x) for i in range(10)]
    return hopper.takes(capability, causal, tuple(tensors), layouts.empty_statistics(x) * 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_takes(dtype):
    assert taken(empty(dtype=dtype))
    assert taken(empty((1, 1, 8192, 128), dtype))


@pytest.mark.parametrize("capability", [None, (8, 0), (9, 1), (10, 0)])
def test_other_devices(capability):
    assert not taken(capability=capability)


@pytest.mark.parametrize(
    "x",
    [
        empty((2, 3, 1024, 64)), empty((2, 3, 1024, 256)), empty((2, 3, 512, 128)),
        empty((2, 3, 1088, 128)), empty(dtype=torch.float32),
        empty((2, 1024, 3, 128)).transpose(1, 2), empty((2, 3, 1024, 136))[..., :128],
        empty((2, 1, 1024, 128)).expand(SHAPE),
    ],
)  # fmt: skip
def test_other_shapes_and_layouts(x):
    assert not taken(x)


@pytest.mark.parametrize("index", range(10))
@pytest.mark.parametrize(
    "other",
    [
        empty((2, 3, 2048, 128)), empty(dtype=torch.float16),
        empty((2, 1024, 3, 128)).transpose(1, 2), torch.empty(SHAPE, dtype=torch.bfloat16),
    ],
)  # fmt: skip
def test_one_other_tensor(index, other):
    if other.device.type == "cpu":  # two bytes off the alignment of the copy engine
        other = torch.empty(other.numel() + 1, dtype=other.dtype)[1:].view(SHAPE)
    assert not taken(others={index: other})


@pytest.mark.parametrize("index", [3, 4, 5, 6, 7, 9])
def test_missing_tangents_and_cotangents(index):
    x = empty()
    tensors = tuple(None if i == index else x for i in range(10))
    assert not hopper.takes((9, 0), False, tensors, layouts.empty_statistics(x) * 2)


def test_causal_mask():
    assert not taken(causal=True)


def test_no_gluon(monkeypatch):
    hopper.kernel.cache_clear()
    monkeypatch.setattr(hopper.triton, "__version__", "3.5.1")
    assert hopper.kernel() is None
    hopper.kernel.cache_clear()


def test_a_cpu_has_no_capability():
    assert hopper.capability(torch.device("cpu")) is None


class Twin:
    """The kernel's equations in float64, program by program."""

    def __getitem__(self, grid):
        def run(*arguments, **constants):
            *descriptors, dk, dtk, N, scale, exponent_scale = arguments
            for n, x in enumerate(descriptors):
                assert x.block_shape == [64 if n < 4 else 32 if n < 8 else 1, 128 if n < 8 else 32]
            read = [x.base.view(*x.shape).double() for x in descriptors]
            for start in range(0, grid[0] * 128, 128):
                own, head = slice(start, start + 128), start // N * N
                visited = slice(head, head + N)
                k, tk, v, tv = (x[own] for x in read[:4])
                q, tq, dto, do = (x[visited] for x in read[4:8])
                lse, mu, d1, d2 = (x[:, visited] for x in read[8:])
                p = torch.exp2(k @ q.T * exponent_scale - lse)
                g = v @ dto.T - d1
                h = v @ do.T + tv @ dto.T
                dts = p * g
                ds = p * (h + g * ((k @ tq.T + tk @ q.T) * scale - mu) - d2)
                dk.view(-1, 128)[own] = ((ds @ q + dts @ tq) * scale).to(dk.dtype)
                dtk.view(-1, 128)[own] = (dts @ q * scale).to(dk.dtype)

        return run


def stage(shape, dtype):
    """Inputs, outputs with cotangents, D1 and D2, and dk, dk', from float64."""
    g = torch.Generator().manual_seed(0)
    xs = [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for _ in range(8)]
    q, k, v, tq, tk, tv, do, dto = (x.double() for x in xs)
    leaves = [k.requires_grad_(), tk.requires_grad_()]
    o, to = kernels.dense_attention_jvp(q, k, v, tq, tk, tv)
    expected = torch.autograd.grad((o, to), leaves, (do, dto))
    with torch.no_grad():
        scale = shape[-1] ** -0.5
        s = q @ k.mT * scale
        mu = (s.softmax(-1) * (tq @ k.mT + q @ tk.mT) * scale).sum(-1)
        lse = s.logsumexp(-1) / math.log(2.0)
        sums = ((dto * o).sum(-1).float(), (do * o + dto * to).sum(-1).float())
    outputs = launch.Outputs(xs[0], xs[0], lse.float(), mu.float(), *xs[6:])
    return launch.inputs_of(*xs[:6]), outputs, sums, expected


@pytest.fixture
def hopper_with_twin(monkeypatch):
    monkeypatch.setattr(hopper, "capability", lambda device: (9, 0))
    monkeypatch.setattr(hopper, "kernel", Twin)


def test_what_the_kernel_is_given(hopper_with_twin):
    inputs, outputs, sums, expected = stage((1, 2, 1024, 128), torch.float16)
    options = launch.Options(128**-0.5, False, False)
    grads = launch.empty_key_grads(inputs)
    for x in (grads.dk, grads.dtk):
        x.fill_(math.nan)
    launch.run_key_pass("key_k", inputs, outputs, sums, grads, options)
    for found, exact in zip((grads.dk, grads.dtk), expected):
        assert (found.double() - exact).norm() <= 5e-4 * exact.norm()


@pytest.mark.parametrize("why", ["key_v", "settings", "causal", "no kernel"])
def test_all_else_is_left_to_triton(why, hopper_with_twin, monkeypatch):
    left = []
    monkeypatch.setattr(launch, "_launch", lambda kernel, *rest: left.append(kernel))
    x = torch.zeros(1, 1, 1024, 128, dtype=torch.bfloat16)
    if why == "no kernel":
        monkeypatch.setattr(hopper, "kernel", lambda: None)
    inputs, (lse, mu) = launch.inputs_of(*[x] * 6), layouts.empty_statistics(x)
    outputs, grads = launch.Outputs(x, x, lse, mu, x, x), launch.empty_key_grads(inputs)
    options = launch.Options(1.0, why == "causal", False)
    settings = launch.tuning.Settings(32, 128, 8, 3, 1) if why == "settings" else None
    kernel = "key_v" if why == "key_v" else "key_k"
    launch.run_key_pass(kernel, inputs, outputs, (mu, mu), grads, options, settings)
    assert left == [kernel]
