"""The backward of attention and of the norm of its queries and keys in the same kernels.

Gradients by normalised queries and keys stay in registers: what is written is the gradient of the
joint projection, values included. Shape letters: B images, N tokens, H heads, D head size.
"""

import torch
from torch import Tensor

from kernels import tuning
from kernels.head_norm_launch import parts_of, run_backward
from kernels.launch import (
    Inputs,
    KeyGrads,
    Options,
    Outputs,
    Pointers,
    attention_jvp_backward,
    case_of,
    fill_query_grads,
    inputs_of,
    run_key_pass,
)
from kernels.layouts import adjacent

ROWS = 64  # tokens whose sums are a part: a program's


def run_joint_backward(
    do: Tensor | None, dto: Tensor | None,
    q: Tensor, k: Tensor, v: Tensor, tq: Tensor | None, tk: Tensor | None, tv: Tensor | None,
    o: Tensor, to: Tensor, lse: Tensor, mu: Tensor, scale: float, causal: bool, tf32: bool,
    qkv: Tensor, tqkv: Tensor | None, q_scale: Tensor, k_scale: Tensor, heads: int, eps: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    """What head_norm_launch.run_backward gives of what attention_jvp_backward gives.

    Args:
        do ... tf32: of attention_jvp_backward; q, k and v (B, H, N, D) are the norm's results. All
            of tq, tk, tv and tqkv are there, or none.
        qkv ... eps: of the norm.
    """
    inputs = inputs_of(q, k, v, tq, tk, tv)
    options = Options(scale, causal, tf32, eps)
    settings = _settings(inputs, options)
    nothing = q.numel() == 0 or (do is None and dto is None)
    norm = (qkv, tqkv, q_scale, k_scale, heads)
    if nothing or not settings:
        saved = (*inputs, o, to, lse, mu)
        dq, dk, dv, *tangents = attention_jvp_backward(do, dto, *saved, scale, causal, tf32)
        dtq, dtk, dtv = (None if tqkv is None else x.transpose(1, 2) for x in tangents)
        dq, dk, dv = (x.transpose(1, 2) for x in (dq, dk, dv))
        return run_backward(*norm, dq, dtq, dk, dtk, dv, dtv, eps)
    outputs = Outputs(o, to, lse, mu, *adjacent(do, dto))
    return _run_fused(inputs, outputs, options, settings, *norm)


def _settings(inputs: Inputs, options: Options) -> tuple[tuning.Settings, ...]:
    """Of the query and the key pass, with ROWS rows a program; none if they have no such.

    What is tuned does not decide whether there are: it could differ when a graph was compiled.
    """
    q = inputs.q
    key = ("joint", options, q.dtype, q.device, q.shape, inputs.tq is None)
    found: tuple[tuning.Settings, ...] | None = tuning.remembered.get(key)
    if found is None:
        found = ()
        cases = [case_of(kernel, inputs, options) for kernel in ("query", "key")]
        whole = tuning.key_kernels(q.shape[3]) == ("key",)
        if whole and all(_rows(case, tuning.built_in(case)) == ROWS for case in cases):
            chosen = [(case, tuning.choose(case)) for case in cases]
            found = tuple(
                [s if _rows(case, s) == ROWS else tuning.built_in(case) for case, s in chosen]
            )
        tuning.remember(key, found)
    return found


def _rows(case: tuning.Case, settings: tuning.Settings) -> int:
    return settings.block_n if case.kernel == "key" else settings.block_m


def _run_fused(
    inputs: Inputs, outputs: Outputs, options: Options, settings: tuple[tuning.Settings, ...],
    qkv: Tensor, tqkv: Tensor | None, q_scale: Tensor, k_scale: Tensor, heads: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    B, H, N, D = inputs.q.shape
    dqkv, dtqkv = qkv.new_empty(qkv.shape), qkv.new_empty(0 if tqkv is None else qkv.shape)
    x, dx = _heads_first(qkv, heads), _heads_first(dqkv, heads)
    tx: Pointers = (None,) * 3
    dtx: Pointers = (None,) * 3
    if tqkv is not None:
        tx, dtx = _heads_first(tqkv, heads), _heads_first(dtqkv, heads)
    parts = B * -(-N // ROWS)
    of_bias = qkv.new_empty((parts, 3, H, D), dtype=torch.float32)
    of_q_scale, of_k_scale = (of_bias.new_empty((parts, H, D)) for _ in range(2))
    of_q, of_k, of_v = of_bias.unbind(dim=1)
    of_query = (x[0], tx[0], q_scale.float(), of_q_scale, of_q)
    of_key = (x[1], tx[1], k_scale.float(), of_k_scale, of_k, of_v)
    query, key = settings
    sums = fill_query_grads(inputs, outputs, dx[0], dtx[0], options, query, of_query)
    grads = KeyGrads(dx[1], dtx[1], dx[2], dtx[2])
    run_key_pass("key", inputs, outputs, sums, grads, options, key, of_key)
    return dqkv, dtqkv, of_q_scale, of_k_scale, of_bias.flatten(1)


def _heads_first(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Queries, keys and values (B, H, N, D) of (B, N, 3 H D), dense."""
    return tuple([x.transpose(1, 2) for x in parts_of(qkv.contiguous(), heads)])
