"""Which backend is taken, what it says, and what is refused, on a machine without a GPU."""

import logging

import pytest
import torch

import kernels
from kernels import tuning

Q = torch.randn(1, 2, 4, 8)


def test_cpu_takes_dense_and_says_so_once(caplog):
    with caplog.at_level(logging.INFO, "tvmlab.kernels"):
        kernels.attention(Q, Q, Q)
        kernels.attention(Q, Q, Q)
    assert kernels.auto_choice(Q) == ("dense", "the tensors are on cpu")
    assert caplog.text.count("attention: dense") <= 1


def test_jvp_of_auto_on_cpu():
    found = torch.func.jvp(kernels.attention, (Q, Q, Q), (Q, Q, Q))
    torch.testing.assert_close(found, kernels.attention_jvp(Q, Q, Q, Q, Q, Q))


def test_compiled_fullgraph_on_cpu():
    def run(q):
        return torch.func.jvp(lambda q: kernels.attention(q, Q, Q), (q,), (Q,))[1]

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(Q), run(Q))


def test_sdpa_refuses_a_tangent():
    torch.testing.assert_close(kernels.sdpa_attention(Q, Q, Q), kernels.dense_attention(Q, Q, Q))
    with pytest.raises(NotImplementedError, match="flash_jvp"):
        torch.func.jvp(lambda q: kernels.sdpa_attention(q, Q, Q), (Q,), (Q,))


def test_flash_refuses_a_cpu():
    with pytest.raises(ValueError, match="NVIDIA GPU"):
        kernels.flash_attention(Q, Q, Q)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((Q, Q, Q[..., :3]), ValueError, "v "),
        ((Q, Q[:, :1], Q), ValueError, "heads"),
        ((Q, Q.double(), Q), TypeError, "cast"),
        ((Q[0], Q, Q), ValueError, "head size"),
        ((Q.int(), Q.int(), Q.int()), TypeError, "floating"),
        ((Q, [1.0], Q), TypeError, "tensor"),
        ((Q, Q.to("meta"), Q), ValueError, "meta"),
    ],
)
def test_wrong_tensors(arguments, error, says):
    with pytest.raises(error, match=says):
        kernels.attention(*arguments)


def test_wrong_tangent():
    with pytest.raises(ValueError, match="tk"):
        kernels.attention_jvp(Q, Q, Q, None, Q[..., :2, :], None)


@pytest.mark.parametrize("attend", [kernels.attention, kernels.flash_attention])
def test_mask_and_dropout_are_refused(attend):
    with pytest.raises(NotImplementedError, match="attn_mask"):
        attend(Q, Q, Q, attn_mask=torch.ones(4, 4))
    with pytest.raises(NotImplementedError, match="dropout"):
        attend(Q, Q, Q, dropout_p=0.1)


class TestTuning:
    case = tuning.Case("query", "some GPU", torch.bfloat16, 64, 1024, False, 3)

    @pytest.fixture(autouse=True)
    def restored(self):
        before = tuning.export()
        yield
        tuning.load(before)

    def test_export_and_load(self):
        tuning.record(self.case, tuning.Settings(16, 32, 4, 2))
        table = tuning.export()
        tuning.clear()
        assert tuning.choose(self.case) == tuning.built_in(self.case)
        tuning.load(table)
        assert tuning.choose(self.case) == tuning.Settings(16, 32, 4, 2)
        assert tuning.export() == table

    def test_wrong_table_changes_nothing(self):
        tuning.record(self.case, tuning.Settings(16, 32, 4, 2))
        with pytest.raises(ValueError, match="integers"):
            tuning.load({"a": {"block_m": 1}})
        assert tuning.choose(self.case) == tuning.Settings(16, 32, 4, 2)

    @pytest.mark.parametrize("n", [1, 64, 65, 1024, 5000, 10**6])
    def test_length_class(self, n):
        assert 64 <= tuning.length_class(n) <= 8192
        assert tuning.length_class(n) >= min(n, 8192)
