"""The memory that cuBLAS multiplies in, decided on before it first does."""

from __future__ import annotations

import os
from collections.abc import Mapping

NONE: Mapping[str, str] = {
    "CUBLAS_WORKSPACE_CONFIG": ":0:0",
    "CUBLASLT_WORKSPACE_SIZE": "0",
    "TORCH_CUBLASLT_UNIFIED_WORKSPACE": "0",
}


def spare_workspaces() -> None:
    """Let cuBLAS do without, in this process and those that it starts, whatever they were told.

    It is for good: PyTorch reads these variables at the first product on a GPU, and then no more,
    so that a later trainer of one process finds no workspaces either. With a workspace
    cuBLAS takes kernels for large products that count on a cleared number in it: one more launch
    for each. Small products of many terms it can spread over a GPU only with one.
    """
    os.environ.update(NONE)
