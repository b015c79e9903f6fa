"""Released checkpoints become runs; runs become safetensors and come back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from framework.command import main
from framework.configuration import Configuration
from framework.protocols import Batch
from framework.training.checkpoints import Checkpoints
from framework.training.experiment import Experiment
from framework.training.trainer import Trainer
from launch import sample
from launch.import_checkpoint import program
from tests.framework.importing.releases import Record, dumped, module_of, network, torch_saved
from tests.parity import Case, error

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.npz"))
CASE = Path(__file__).parents[1] / "golden/tvm_scaled_const_w.npz"
ROOT = Path(__file__).parents[2]


def run(monkeypatch, capsys, *arguments):
    """Run the program; return its exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["import_checkpoint.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main(program)
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def trainer_of(run_folder):
    experiment = Experiment.build(Configuration.load([run_folder / "config.gin"]).resolve())
    trainer = Trainer(experiment.train, torch.device("cpu"))
    trainer.load_state_dict(Checkpoints(run_folder / "checkpoints").load())
    return trainer


def assert_same_output(case, module):
    with torch.no_grad():
        assert error(module(*case.arguments), case["out_F"]) < 1e-5


def written(folder, content, name="released.pkl"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda p: p.stem)
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_a_released_pickle_becomes_a_run_with_the_released_output(golden, compiled, tmp_path, call):
    case = Case(golden)
    proof = tmp_path / "proof"
    content = {"net": network(case, compiled=compiled, proof=proof), "dataset_kwargs": {}}
    code, out, err = call(written(tmp_path, dumped(content)), "--out", tmp_path / "run")
    assert code == 0, err
    assert "trained weights of 0.1 M numbers" in out
    trainer = trainer_of(tmp_path / "run")
    for module in (trainer.model, trainer.averages.networks["evaluation"]):
        assert_same_output(case, module)
    config = (tmp_path / "run/config.gin").read_text()
    scaled = case.config["scaled_parameterization"]
    assert f"losses.tvm.flow_map = @flow_maps.{'scaled' if scaled else 'plain'}()" in config
    assert "models.dit.num_heads = 2" in config
    assert not proof.exists()


def test_a_training_state_brings_all_three_networks(tmp_path, call):
    case = Case(CASE)
    content = {
        "net": network(case),
        "ema": network(case, "target/"),
        "ema_target": network(case, "target/"),
        "optimizer_state": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []},
        "scaler_state": {},
    }
    file = written(tmp_path, torch_saved(content), "training-state-0000001.pt")
    code, _, err = call(file, "--out", tmp_path / "run")
    assert code == 0, err
    trainer = trainer_of(tmp_path / "run")
    assert_same_output(case, trainer.model)
    theirs = case.under("target/")["model.final_layer.linear.weight"]
    for name in ("evaluation", "target"):
        assert torch.equal(trainer.averages.networks[name].output.linear.weight, theirs)


def test_safetensors_and_back(tmp_path, call):
    case = Case(CASE)
    file = written(tmp_path, dumped({"net": network(case)}))
    assert call(file, "--out", tmp_path / "run")[0] == 0
    exported = tmp_path / "weights.safetensors"
    code, _, err = call(tmp_path / "run", "--safetensors", exported)
    assert code == 0, err
    assert call(exported, "--out", tmp_path / "again")[0] == 0
    assert_same_output(case, trainer_of(tmp_path / "again").averages.networks["evaluation"])
    configs = [(tmp_path / run / "config.gin").read_text() for run in ("run", "again")]
    assert configs[0] == configs[1]
    again = (exported, "--gin", tmp_path / "run/config.gin", "--out")
    assert "otherwise" not in call(*again, tmp_path / "same")[2]
    other = call(*again, tmp_path / "other", "--set", "guidances.constant.weight = 3.0")[2]
    assert "weights.safetensors was trained otherwise: guidances.constant.weight\n" in other


def test_an_imported_run_can_be_trained_on(tmp_path, call):
    file = written(tmp_path, dumped({"net": network(Case(CASE))}))
    assert call(file, "--out", tmp_path / "run", "--set", "train.accumulation = 2")[0] == 0
    trainer = trainer_of(tmp_path / "run")
    data = [torch.randn(2, 4, 8, 8) for _ in range(2)]
    labels = torch.tensor([0, 1])
    batch = Batch(*data, labels, 5, lambda _, width: torch.rand(2, width).double())
    before = trainer.model.output.linear.bias.detach().clone()
    trainer.train_step(batch)
    assert not torch.equal(before, trainer.model.output.linear.bias)


def test_the_gin_file_may_not_contradict_the_network(tmp_path, call):
    file = written(tmp_path, dumped({"net": network(Case(CASE))}))
    gin = ROOT / "gin/imagenet256_w1.75.gin"
    code, _, err = call(file, "--out", tmp_path / "run", "--gin", gin)
    assert code == 2
    assert "models.dit.hidden_size" in err
    assert not (tmp_path / "run").exists()
    sizes = {"hidden_size": 32, "depth": 2, "num_heads": 2}
    sets = [f"models.dit.{name} = {value}" for name, value in sizes.items()]
    sets += ["datasets.latents.resolution = 8", "datasets.latents.num_classes = 5"]
    options = [part for binding in sets for part in ("--set", binding)]
    code, _, err = call(file, "--out", tmp_path / "run", "--gin", gin, *options)
    assert code == 0, err
    assert "guidances.constant.weight = 1.75" in (tmp_path / "run/config.gin").read_text()


def test_a_set_may_not_contradict_the_network(tmp_path, call):
    file = written(tmp_path, dumped({"net": network(Case(CASE))}))
    told = (file, "--out", tmp_path / "run", "--set")
    code, _, err = call(*told, "models.dit.depth = 3")
    assert (code, "models.dit.depth = 2, and --set says 3: leave that out" in err) == (2, True)
    assert not (tmp_path / "run").exists()
    assert call(*told, "models.dit.depth = 2")[0] == 0


def test_sample_draws_from_an_imported_run(tmp_path, call, monkeypatch, capsys):
    file = written(tmp_path, dumped({"net": network(Case(CASE))}))
    assert call(file, "--out", tmp_path / "run")[0] == 0
    arguments = ["sample.py", str(tmp_path / "run"), "--classes", "4", "--count", "3"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        main(sample.program)
    assert end.value.code == 0, capsys.readouterr().err
    assert len(list((tmp_path / "run/drawn/nfe=1").glob("class=4-*.png"))) == 3


def without(case, name):
    held = {k: v for k, v in case.under("net/").items() if k != name}
    return Record("TVMWrapper", module_of(held).__dict__ | {"img_resolution": 8})


STRANGE = {
    "holds no network": lambda case: {"G": 1},
    "holds no network under": lambda case: [1, 2],
    "lack": lambda case: {"net": without(case, "model.blocks.0.attn.proj.bias")},
    "label_dim": lambda case: {"net": network(case, label_dim=7)},
    "img_resolution": lambda case: {"net": network(case, img_resolution=16)},
    "channels": lambda case: {"net": network(case, img_channels=3)},
}


@pytest.mark.parametrize("words", STRANGE)
def test_strange_networks_are_named_and_nothing_is_written(words, tmp_path, call):
    file = written(tmp_path, dumped(STRANGE[words](Case(CASE))))
    code, out, err = call(file, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert words in err
    assert not (tmp_path / "run").exists()


def test_bad_arguments(tmp_path, call):
    file = written(tmp_path, b"")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thing").touch()
    good = written(tmp_path, dumped({"net": network(Case(CASE))}), "good.pkl")
    damaged = written(tmp_path, b"\x08\0\0\0\0\0\0\0{}", "damaged.safetensors")
    for arguments, words in {
        (tmp_path / "none.pkl", "--out", tmp_path / "run"): "no such file",
        (file,): "--out DIR",
        (file, "--out", tmp_path / "run"): "damaged or no pickle",
        (good, "--out", taken): "not an empty folder",
        (taken, "--safetensors", tmp_path / "x.safetensors"): "not a run's folder",
        (taken, "--out", tmp_path / "run"): "is a folder",
        (damaged, "--out", tmp_path / "run"): "damaged or no safetensors",
    }.items():
        code, _, err = call(*arguments)
        assert code == 2
        assert words in err
        assert len(err.strip().splitlines()) <= 2, err
    assert not (tmp_path / "run").exists()


def test_a_safetensors_file_may_not_import(tmp_path, call):
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('proof').touch()")
    for line in ("import evil", "include 'other.gin'"):
        file = tmp_path / "weights.safetensors"
        save_file({"a": torch.zeros(1)}, file, {"config.gin": f"{line}\ntrain.steps = 3\n"})
        code, _, err = call(file, "--out", tmp_path / "run")
        assert code == 2
        assert "its configuration" in err


def test_it_runs_from_a_shell(tmp_path):
    file = written(tmp_path, dumped({"net": network(Case(CASE))}))
    command = [sys.executable, "launch/import_checkpoint.py", file, "--out", tmp_path / "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run/checkpoints/step-00000000.pt").is_file()
