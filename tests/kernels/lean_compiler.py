"""A compiler that changes graphs and parts them as a training run's does, and keeps them."""

from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.lowering import lowerings
from torch._ops import OpOverload
from torch.fx import map_arg

from framework.training.graph_kept import Kept
from framework.training.graph_passes import LeanGraph

_PARTS = select_decomp_table()


def operations(module):
    return {node.target for node in module.graph.nodes if node.op == "call_function"}


def check_values(graph):
    """What the compiler was told of results, to write code for them, is what they are like."""
    for node in graph.nodes:
        if isinstance(node.target, OpOverload) and isinstance(node.meta["val"], Tensor):
            told = node.meta["val"]
            with told.fake_mode:
                args, kwargs = map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
                found = node.target(*args, **kwargs)
            assert (found.shape, found.dtype) == (told.shape, told.dtype), node.format_node()


def lean(kept_graphs, **kept):
    """A compiler of nothing but what LeanGraph and the partitioner do.

    It keeps the graphs of backward passes, and of passes without gradient.
    """

    def change(module):
        before = operations(module)
        LeanGraph(Kept(**kept))(module.graph)
        added = operations(module) - before
        # Such are taken apart before LeanGraph is called; there is no code for them.
        assert not (added & _PARTS.keys()) - lowerings.keys()
        check_values(module.graph)
        module.recompile()

    def partition(module, *args, **kwargs):
        change(module)
        return min_cut_rematerialization_partition(module, *args, **kwargs)

    def keep(module, inputs):
        kept_graphs.append(module)
        return make_boxed_func(module.forward)

    def without_gradient(module, inputs):
        change(module)
        return keep(module, inputs)

    return aot_autograd(
        fw_compiler=lambda module, inputs: make_boxed_func(module.forward),
        bw_compiler=keep,
        inference_compiler=without_gradient,
        partition_fn=partition,
        decompositions=_PARTS,
    )
