"""Kernels that are compiled where there is no GPU."""

import os
import sys
from collections import defaultdict

import pytest
import torch
from torch._inductor.async_compile import AsyncCompile, get_compile_threads
from torch._inductor.runtime.cache_dir_utils import triton_cache_dir
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


@pytest.fixture
def surroundings(monkeypatch):
    """What kernels are found by is not settled yet."""
    for name in ("TRITON_CACHE_DIR", "TRITON_PTXAS_PATH"):
        monkeypatch.setenv(name, "to be taken back")
        monkeypatch.delenv(name)


@pytest.fixture
def pool(surroundings):
    """Processes of the compiler that begin now."""
    AsyncCompile.process_pool.cache_clear()
    started = apart.processes()
    yield started
    started.shutdown()
    AsyncCompile.process_pool.cache_clear()


@pytest.mark.skipif(get_compile_threads() < 2, reason="needs two cores for the compiler")
def test_one_of_the_compilers_processes_compiles(tmp_path, hits, monkeypatch, pool):
    monkeypatch.setattr(driver, "_active", apart.Described(GPUTarget(*HOPPER)))
    monkeypatch.setattr(knobs.cache, "dir", str(tmp_path))
    begun = apart.begin(pool, gelu_forward_kernel, ARGUMENTS, CONSTANTS)
    assert begun.result(timeout=120) is None
    apart.compile_for(job(tmp_path))
    assert hits == [True]


def test_triton_and_the_compiler_look_into_one_folder(surroundings):
    apart.settle()
    assert knobs.cache.dir == triton_cache_dir(0)


def test_without_an_assembler_nothing_is_settled_of_it(surroundings, monkeypatch):
    monkeypatch.setattr(knobs.NvidiaTool, "from_path", staticmethod(lambda path: None))
    apart.settle()
    assert "TRITON_PTXAS_PATH" not in os.environ


def test_a_users_own_folder_and_assembler_stay(monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", "here")
    monkeypatch.setenv("TRITON_PTXAS_PATH", "mine")
    apart.settle()
    assert (os.environ["TRITON_CACHE_DIR"], os.environ["TRITON_PTXAS_PATH"]) == ("here", "mine")


def test_without_the_compiler_there_are_no_processes(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._inductor.async_compile")
    assert apart.processes() is None
