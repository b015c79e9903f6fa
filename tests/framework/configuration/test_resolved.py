from framework.configuration import Configuration


def test_builds(base):
    resolved = Configuration.load([base]).resolve()
    print(resolved.text(), resolved.json())
    resolved.activate()
    toy = resolved.build("toy")
    assert toy.loss.time_sampler.std == 1.0
    assert toy.model(shape=(1,), num_classes=2).norm.dim == 8
