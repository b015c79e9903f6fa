"""What a run wants beside its network and its loss, as little of it as there can be."""


class Constant:
    """An average and a schedule."""

    def decay(self, step):
        return 0.5

    def __call__(self, step, steps):
        return 1.0


class Data:
    name, shape, num_classes = "data", (4,), 2
