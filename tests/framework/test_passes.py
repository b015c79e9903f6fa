"""What blocks are given, so that one compilation serves all of them."""

import pytest
import torch

from framework.passes import Inputs, Passes, block_jvp, block_pair
from tests.framework.test_evaluator import Blocks, arguments, tangent_of


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("paired", [False, True])
def test_all_inputs_ask_for_gradient_but_detached_tangents(detach, paired):
    asked = []

    def watched(function):
        def run(block, detach, *tensors):
            asked.append([each.requires_grad for each in tensors])
            return function(block, detach, *tensors)

        return run

    network = Blocks().double()
    network.inward.requires_grad_(False)  # so that nothing asks by itself
    x, t, s, c, w = arguments(5)
    inputs, tangent = Inputs(x, t, s, c, w), tangent_of(arguments(5), detach=detach)
    passes = Passes(block_jvp=watched(block_jvp), block_pair=watched(block_pair), alike=True)
    if paired:
        passes.pair(network, inputs, tangent, inputs)
    else:
        passes.with_tangent(network, inputs, tangent)
    expected = [True, not detach] * 2 + [True, True] * paired
    assert asked == [expected] * 2
    with torch.no_grad():
        passes.with_tangent(network, inputs, tangent)
    assert not any(asked[-1])
