"""What the README shows works as shown."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def block_with(text):
    (found,) = [block for block in blocks("(?:python)?") if text in block]
    return found


def run(*arguments, cwd):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_loss_trains_as_a_plugin(tmp_path):
    plugin = block_with("@register.loss")
    assert len([line for line in plugin.splitlines() if line and line[0] != "#"]) <= 15
    (tmp_path / "my_losses.py").write_text(plugin)
    (tmp_path / "mine.gin").write_text(block_with("import my_losses"))
    small = ["train.steps = 2", "evaluation.metrics = ()", "models.dit.depth = 1"]
    sets = [part for binding in small for part in ("--set", binding)]
    said = run(ROOT / "launch/train.py", "--gin", "mine.gin", *sets, cwd=tmp_path)
    assert said.startswith("done: runs/mine/")


def test_a_step_of_ones_own_is_compiled(tmp_path):
    kept = "print(*[bool(p.grad.any()) for p in network.parameters()])"
    script = f"{block_with('lean_graphs():')}\n{kept}\n"
    (tmp_path / "my_step.py").write_text(script)
    said = run("my_step.py", cwd=tmp_path)
    assert set(said.split()) == {"True"}


def test_the_grid_is_checked_as_it_stands(tmp_path):
    grid = block_with("'ema_target'")
    assert len([line for line in grid.splitlines() if line]) <= 10
    (tmp_path / "grid.gin").write_text(grid)
    said = run(ROOT / "launch/slurm.py", "--gin", "grid.gin", "--dry-run", cwd=tmp_path)
    assert "target_decay=0.999" in said


def test_every_program_named_exists():
    for program in re.findall(r"python (launch/\w+\.py)", README):
        assert (ROOT / program).exists(), program
