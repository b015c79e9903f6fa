"""A compiler that changes graphs and parts them as a training run's does, and keeps them."""

from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition

from framework.training.graph_passes import LeanGraph


def lean(backwards):
    """A compiler of nothing but what LeanGraph and the partitioner do; keeps backward graphs."""

    def partition(module, *args, **kwargs):
        LeanGraph()(module.graph)
        return min_cut_rematerialization_partition(module, *args, **kwargs)

    def backward(module, inputs):
        backwards.append(module)
        return make_boxed_func(module.forward)

    return aot_autograd(
        fw_compiler=lambda module, inputs: make_boxed_func(module.forward),
        bw_compiler=backward,
        partition_fn=partition,
    )
