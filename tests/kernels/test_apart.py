"""Kernels that are compiled where there is no GPU."""

import sys
from collections import defaultdict

import pytest
import torch
from torch._inductor.async_compile import get_compile_threads
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from kernels import apart
from kernels.gelu_kernels import gelu_forward_kernel

HOPPER = ("cuda", 90, 32)
ARGUMENTS = (torch.bfloat16, None, torch.bfloat16, None, 4096)
CONSTANTS = {"BLOCK": 1024, "num_warps": 4, "num_stages": 1}


def job(folder):
    kernel = gelu_forward_kernel.fn
    return apart.Job(kernel.__module__, kernel.__name__, ARGUMENTS, CONSTANTS, HOPPER, str(folder))


@pytest.fixture
def hits(monkeypatch):
    """Whether each variant was in Triton's cache."""
    found = []

    def listen(cache_hit, **_):
        found.append(cache_hit)

    monkeypatch.setattr(knobs.compilation, "listener", listen)
    caches = defaultdict(gelu_forward_kernel.create_binder)
    monkeypatch.setattr(gelu_forward_kernel, "device_caches", caches)
    return found


def test_a_variant_is_compiled_into_the_cache(tmp_path, hits):
    before = driver._active
    apart.compile_for(job(tmp_path))
    gelu_forward_kernel.device_caches.clear()
    apart.compile_for(job(tmp_path))
    assert hits == [False, True]
    assert list(tmp_path.glob("*/*.cubin"))
    assert driver._active is before


def test_what_has_no_such_kernel_leaves_the_driver_as_it_was(tmp_path):
    before = driver._active
    with pytest.raises(KeyError):
        apart.compile_for(job(tmp_path)._replace(constants=CONSTANTS | {"COLOURS": 3}))
    assert driver._active is before


@pytest.mark.skipif(get_compile_threads() < 2, reason="needs two cores for the compiler")
def test_one_of_the_compilers_processes_compiles(tmp_path, hits, monkeypatch):
    monkeypatch.setattr(driver, "_active", apart.Described(GPUTarget(*HOPPER)))
    monkeypatch.setattr(knobs.cache, "dir", str(tmp_path))
    elsewhere = apart.begin(gelu_forward_kernel, ARGUMENTS, CONSTANTS)
    assert elsewhere.result(timeout=120) is None
    apart.compile_for(job(tmp_path))
    assert hits == [True]


def test_without_the_compiler_nothing_is_begun(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._inductor.async_compile")
    assert apart.begin(gelu_forward_kernel, ARGUMENTS, CONSTANTS) is None
