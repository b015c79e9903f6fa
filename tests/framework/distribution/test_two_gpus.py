"""Two GPUs against one, over NCCL: see `session` for what they do.

Sums go in another order there: kernels are chosen by the size of a batch. Where Adam meets a
gradient that is nothing but such rounding, a weight may move by its rate in either direction: one
in a thousand is left to that.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.framework.distribution import session

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs"),
]
REPOSITORY = Path(__file__).parents[3]
RATE = 2e-3  # of digits.gin
FLOAT32 = [case for case in session.GPU_CASES if case != "bf16"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]]),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
    program = [sys.executable, "-m", session.__name__, str(folder), "cuda"]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert torch.load(folder / "codes.pt") == {"explored": 0}, ended.stderr[-4000:]
    return torch.load(folder / "found.pt")


def assert_histories(several, one, **tolerance):
    for (_, values), (_, expected) in zip(several["history"], one["history"], strict=True):
        assert values == pytest.approx(expected, **tolerance)


def assert_weights(several, one, steps=session.STEPS, atol=1e-5):
    assert several["weights"].keys() == one["weights"].keys()
    pairs = [(w, several["weights"][name]) for name, w in one["weights"].items()]
    off = torch.cat([(w - other).abs().flatten() for w, other in pairs])
    assert float((off > atol).double().mean()) < 1e-3
    assert float(off.max()) < 2 * steps * RATE


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("case", FLOAT32)
def test_losses_gradients_and_weights_are_those_of_one_gpu(found, case, kind):
    several, one = found[f"{case}/{kind}"], found[f"{case}/one"]
    assert_histories(several, one, rel=1e-4, abs=1e-6)
    assert_weights(several, one)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize("case", session.GPU_CASES)
def test_replicas_are_equal_to_the_bit(found, case, kind):
    assert found[f"{case}/{kind} alike"] == ""


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_bf16_agrees_within_its_precision(found, kind):
    assert_histories(found[f"bf16/{kind}"], found["bf16/one"], rel=2e-2, abs=1e-4)


def test_replayed_steps_are_those_of_one_gpu(found):
    assert_histories(found["replayed/ddp"], found["replayed/one"], rel=1e-4, abs=1e-6)
    assert_weights(found["replayed/ddp"], found["replayed/one"], steps=2 * session.STEPS)
    assert found["replayed/ddp alike"] == ""


def test_compiled_and_eager_steps_agree(found):
    for kind in ("ddp", "fsdp"):
        assert_histories(found[f"compiled/{kind}"], found["plain/one"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "replayed"])
def test_no_step_waits_for_its_gpu(found, kind):
    assert found[f"waited/{kind}"] == ""


@pytest.mark.parametrize("way", ["again", "as ddp", "by one", "from one"])
def test_checkpoints_load_on_another_number_of_gpus(found, way):
    assert_weights(found[way], found["undisturbed"])


def test_a_damaged_checkpoint_is_left_for_the_one_before(found):
    assert found["after damage"] == 1


def test_samples_are_those_of_one_gpu_and_features_are_shared(found):
    seen, shared = found["scores"]
    assert shared == pytest.approx(2 * seen, rel=1e-4)
    assert [seen, shared] == pytest.approx(found["scores of one"], rel=1e-3)
