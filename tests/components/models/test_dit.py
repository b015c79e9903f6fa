"""The DiT: its parts, its initial weights, its tangents, and what it refuses."""

import math

import pytest
import torch

from components.attentions import SDPA
from components.initializers import Spectral
from components.models.initialization import role_of
from components.models.positions import sin_cos_positions
from components.models.release_names import our_name
from components.modulation_norms import NoModulationNorm
from components.normalizations import DynamicTanh, LayerNorm, NoNormalization, RMSScaled
from components.qk_norms import L2, NoQKNorm
from components.second_times import Both, End, Nothing
from components.time_embeddings import Fourier, Learned, LogSNR
from framework import UserError
from framework.evaluator import Evaluator
from framework.passes import Passes, block_forward, block_jvp
from framework.protocols import Query, Role, Tangent, has_blocks
from tests.components.building import CLASSES, SHAPE, SlowEvaluator, dit, finite_difference

ALTERNATIVES = [
    {},
    {"time_embedding": Fourier},
    {"time_embedding": Learned, "second_time": End},
    {"time_embedding": LogSNR, "second_time": Both},
    {"second_time": Nothing},
    {"normalization": LayerNorm, "qk_norm": NoQKNorm, "modulation_norm": NoModulationNorm},
    {"normalization": RMSScaled, "qk_norm": L2},
    {"normalization": DynamicTanh},
    {"normalization": NoNormalization, "guidance_embedding": False},
]


def query(size=4, **options):
    g = torch.Generator().manual_seed(7)
    x, dx = torch.randn(2, size, *SHAPE, generator=g, dtype=torch.float64)
    s, gap, w = torch.rand(3, size, generator=g, dtype=torch.float64)
    t = s + (1 - s) * gap
    tangent = Tangent(x=dx, t=torch.ones_like(t), s=2 * torch.ones_like(t))
    return Query(x, t, s, torch.arange(size) % (CLASSES + 1), 1 + w, tangent=tangent, **options)


@pytest.mark.parametrize("parts", ALTERNATIVES, ids=lambda p: "-".join(map(str, p)) or "paper")
def test_tangents_through_every_part_are_derivatives(parts):
    network, q = dit(**parts), query()
    (result,) = Evaluator(network)(q)
    (slow,) = SlowEvaluator(network)(q)
    torch.testing.assert_close((result.F, result.dF), (slow.F, slow.dF))
    expected = finite_difference(network, q, step=1e-6)
    torch.testing.assert_close(result.dF, expected, atol=1e-6, rtol=1e-5)


def test_it_is_embed_blocks_and_head():
    network, q = dit(), query()
    assert has_blocks(network)
    stream, condition = network.embed(q.x, q.t, q.s, q.c, q.w)
    assert condition.shape == (4, 16)
    for block in network.blocks:
        assert [each.shape for each in stream] == [(4, 4, 16), (4, 4, 16), (4, 1, 16)]
        stream = block(stream, condition)
    F = network(q.x, q.t, q.s, q.c, q.w)
    assert torch.equal(network.head(stream, condition), F)
    assert F.shape == q.x.shape


def test_patches_go_in_and_out_where_they_belong():
    """Changing one pixel changes, without attention, only its own patch of the output."""
    network, q = dit(attention=lambda q, k, v: torch.zeros_like(v)), query(1)
    moved = q.x.clone()
    moved[0, 1, 3, 0] += 1  # row 3, column 0: the patch of rows 2-3 and columns 0-1
    before = network(q.x, q.t, q.s, q.c, q.w)
    changed = (network(moved, q.t, q.s, q.c, q.w) != before)[0].all(dim=0)
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[2:, :2] = True
    assert torch.equal(changed, expected)


def test_images_need_not_be_square():
    network = dit(shape=(1, 2, 6))
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 2, 6, generator=g, dtype=torch.float64)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    assert network(x, half, half, torch.tensor([0, 3]), half).shape == x.shape


def test_positions_have_the_column_first_and_sines_first():
    positions = sin_cos_positions(2, 3, 8)
    assert positions.shape == (6, 8)
    row, column = 1, 2
    expected = [
        f(index / 10_000 ** (i / 2))
        for index in (column, row)
        for f in (math.sin, math.cos)
        for i in (0, 1)
    ]
    torch.testing.assert_close(positions[row * 3 + column], torch.tensor(expected))


def streams(name):
    return torch.Generator().manual_seed(sum(map(ord, name)))


def test_initial_weights_follow_their_roles():
    network = dit(initializer=Spectral(), normalization=RMSScaled, qk_norm=L2)
    network.initialize(streams)
    for name, parameter in network.named_parameters():
        if name.endswith("bias") or (parameter.ndim == 2 and role_of(name) is Role.ZERO):
            assert not parameter.any(), name
        elif parameter.ndim >= 2:
            assert parameter.std() > 0, name
    q = query()
    assert torch.equal(network(q.x, q.t, q.s, q.c, q.w), torch.zeros_like(q.x))
    for block in network.blocks:
        assert torch.equal(block.attention_norm.scale, torch.ones(16).double())
        norm = float(torch.linalg.matrix_norm(block.attention.qkv.weight.detach(), 2))
        assert norm == pytest.approx(1, abs=1e-6)


def test_initialisation_is_a_function_of_the_streams_alone():
    first, second = dit(seed=1), dit(seed=2)
    for network in (first, second):
        torch.manual_seed(torch.initial_seed() + 1)
        network.initialize(streams)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    deeper = dit(depth=3)
    deeper.initialize(streams)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, dict(deeper.named_parameters())[name])


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("patch_embedding.weight", Role.PATCH_EMBEDDING),
        ("condition.classes.weight", Role.CLASS_EMBEDDING),
        ("condition.time.projection.inward.weight", Role.TIME_EMBEDDING),
        ("condition.second_time.embedding.projection.outward.weight", Role.TIME_EMBEDDING),
        ("condition.guidance.projection.inward.weight", Role.TIME_EMBEDDING),
        ("blocks.0.attention.qkv.weight", Role.LINEAR),
        ("blocks.1.mlp.contract.weight", Role.LINEAR),
        ("blocks.1.modulation.linear.weight", Role.ZERO),
        ("output.modulation.linear.weight", Role.ZERO),
        ("output.linear.weight", Role.ZERO),
    ],
)
def test_roles(name, role):
    assert name in dict(dit().named_parameters())
    assert role_of(name) is role


def test_float32_and_bfloat16_autocast():
    network, q = dit().float(), query()
    x, t, s, w = (v.float() for v in (q.x, q.t, q.s, q.w))
    plain = network(x, t, s, q.c, w)
    assert plain.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(x, t, s, q.c, w)
    assert (rough - plain).abs().max() / plain.abs().max() < 0.05


def test_blocks_compile_as_whole_graphs_with_their_tangent():
    network, q = dit(), query()
    passes = Passes(
        *(
            torch.compile(function, fullgraph=True, backend="aot_eager")
            for function in (block_forward, block_jvp)
        )
    )
    (compiled,) = Evaluator(network, passes=passes)(q)
    (slow,) = SlowEvaluator(network)(q)
    torch.testing.assert_close((compiled.F, compiled.dF), (slow.F, slow.dF))
    compiled.derivative.square().sum().backward()
    ours = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    slow.derivative.square().sum().backward()
    theirs = [p.grad for p in network.parameters() if p.grad is not None]
    torch.testing.assert_close(ours, theirs)


def test_without_guidance_embedding_the_weight_is_not_seen():
    q, network = query(), dit(guidance_embedding=False)
    assert torch.equal(
        network(q.x, q.t, q.s, q.c, q.w), network(q.x, q.t, q.s, q.c, torch.ones_like(q.w))
    )


def test_attention_without_tangents_serves_plain_passes():
    q = query()
    (plain,) = SlowEvaluator(dit(attention=SDPA()))(Query(q.x, q.t, q.s, q.c, q.w))
    (dense,) = SlowEvaluator(dit())(Query(q.x, q.t, q.s, q.c, q.w))
    torch.testing.assert_close(plain.F, dense.F)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"hidden_size": 18, "num_heads": 4}, "hidden_size is 18"),
        ({"hidden_size": 18, "num_heads": 3}, "hidden_size is 18"),
        ({"patch_size": 3}, "patch_size is 3"),
        ({"shape": (2,)}, "images"),
        ({"normalization": lambda dim: abs}, "normalization"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(UserError, match=message):
        dit(**parts)


def test_released_names_that_nobody_knows_are_an_error():
    assert our_name("model.pos_embed") is None
    assert our_name("model.blocks.12.attn.q_norm.weight") == "blocks.12.attention.q_norm.scale"
    with pytest.raises(KeyError):
        our_name("model.blocks.0.attn.rope")
