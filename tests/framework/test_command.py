import subprocess
import sys
from pathlib import Path

import pytest

from framework import UserError, command

ROOT = Path(__file__).parents[2]


def end(program, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        command.main(program)
    return caught.value.code, capsys.readouterr().err


def raising(error):
    def program():
        raise error

    return program


def test_ends(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch/train.py"])
    assert end(lambda: None, capsys) == (0, "")
    assert end(lambda: 3, capsys) == (3, "")
    assert end(raising(UserError("mend it")), capsys) == (2, "train.py: mend it\n")
    assert end(raising(KeyboardInterrupt()), capsys) == (130, "train.py: interrupted\n")


def test_bugs_show_their_traceback():
    with pytest.raises(ValueError, match="bug"):
        command.main(raising(ValueError("bug")))


def test_arguments_repeat():
    parser = command.parser("Trains.")
    command.add_configuration_arguments(parser)
    found = parser.parse_args(["--gin", "a", "--gin", "b", "--set", "x.y=1", "--plugin", "p"])
    assert (found.gin, found.set, found.plugin) == ([Path("a"), Path("b")], ["x.y=1"], ["p"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "train.py: the following arguments are required: --gin (--help lists the options)\n"),
        (["--gin"], "train.py: argument --gin: expected one argument (--help lists the options)\n"),
        (["--gi", "a", "--gin", "b"], "train.py: unrecognized arguments: --gi a (--help lists"),
    ],
)
def test_wrong_arguments_take_one_line(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["launch/train.py"])
    parser = command.parser("Trains.")
    command.add_configuration_arguments(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(message)


def test_configuration_is_what_the_arguments_say(tmp_path):
    parser = command.parser("Trains.")
    command.add_configuration_arguments(parser)
    path = tmp_path / "a.gin"
    path.write_text("lr = 1\n")
    found = command.configuration(parser.parse_args(["--gin", str(path), "--set", "lr = 2"]))
    assert [binding.value for binding in found.bindings.values()] == [2]


def test_no_program_is_called_like_a_module_of_python():
    programs = {path.stem for path in (ROOT / "launch").glob("*.py")} - {"__init__"}
    assert not programs & sys.stdlib_module_names


def test_a_reader_that_has_seen_enough():
    code = (
        "from framework.command import main\n"
        "main(lambda: [print('x' * 80) for _ in range(9999)] and 0)"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{code}" | head -1'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("x" * 80, "")
