import torch

from framework.streams import Streams


def test_a_sample_keeps_its_draws_whatever_the_batch_around_it():
    streams = Streams(3)
    whole = streams.normal("noise", 5, range(0, 12), (3, 5))
    assert torch.equal(streams.normal("noise", 5, range(4, 9), (3, 5)), whole[4:9])
    times = streams.uniform("time", 5, range(0, 64), 4)
    assert torch.equal(streams.uniform("time", 5, range(7, 9), 4), times[7:9])


def test_seed_stream_and_step_each_change_the_draws():
    draws = [
        Streams(seed).uniform(stream, step, range(2), 2)
        for seed, stream, step in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    ]
    assert all(not torch.equal(draws[0], other) for other in draws[1:])


def test_normals_are_standard():
    x = Streams(0).normal("noise", 0, range(4096), (4, 4))
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01


def test_uniforms_stay_inside_the_open_interval():
    u = Streams(0).uniform("time", 0, range(100_000), 4)
    assert u.min() > 0
    assert u.max() < 1


def test_a_permutation_has_every_index_once():
    assert torch.equal(Streams(1).permutation("data", 2, 50).sort().values, torch.arange(50))
