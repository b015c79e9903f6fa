"""What holds for the tests of components."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Small tensors are faster on one thread, and test runners share the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
