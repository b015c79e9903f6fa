import sys
from importlib.metadata import EntryPoint

import pytest

from framework import UserError, plugins, registry
from framework.configuration import Configuration

HALF = '''
from framework import register

@register.schedule("{name}")
class Half:
    """Half."""

    def __call__(self, step: int, steps: int) -> float:
        return 0.5
'''


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Forget what a test imports and registers; work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "_components", {})
    monkeypatch.setattr(plugins, "_failures", {})
    monkeypatch.setattr(plugins, "_installed_loaded", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(plugin, folders=()) -> str:
    with pytest.raises(UserError) as caught:
        plugins.load(plugin, folders)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_module_of_the_working_directory(tmp_path):
    (tmp_path / "plug_a.py").write_text(HALF.format(name="half_a"))
    assert plugins.load("plug_a") == ["plug_a"]
    assert registry.component("half_a").module == "plug_a"
    assert plugins.load("plug_a") == ["plug_a"]


@pytest.mark.parametrize("spelling", ["sub/plug_b.py", "./sub/plug_b.py", "{}/sub/plug_b.py"])
def test_a_file(tmp_path, spelling):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "helper_b.py").write_text("NAME = 'half_b'\n")
    source = "import helper_b\n" + HALF.format(name="half_b")
    (tmp_path / "sub" / "plug_b.py").write_text(source)
    assert plugins.load(spelling.format(tmp_path)) == ["plug_b"]
    assert registry.component("half_b")


def test_a_package_and_a_module_inside(tmp_path):
    package = tmp_path / "plug_c"
    package.mkdir()
    (package / "__init__.py").write_text("from plug_c import inner\n")
    (package / "inner.py").write_text(HALF.format(name="half_c"))
    assert plugins.load("./plug_c") == ["plug_c"]
    assert plugins.load("plug_c.inner") == ["plug_c.inner"]
    assert registry.component("half_c").module == "plug_c.inner"


def test_a_folder_of_modules(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("plug_d", "plug_e", "_private"):
        (tmp_path / "mine" / f"{name}.py").write_text(HALF.format(name=f"half_{name[-1]}"))
    assert plugins.load("mine") == ["plug_d", "plug_e"]


def test_a_folder_first(tmp_path):
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "plug_f.py").write_text(HALF.format(name="from_snapshot"))
    (tmp_path / "plug_f.py").write_text(HALF.format(name="from_here"))
    plugins.load("plug_f", [tmp_path / "snapshot"])
    assert registry.component("from_snapshot")


def test_a_copy_of_what_is_loaded_will_do(tmp_path):
    (tmp_path / "plug_g.py").write_text(HALF.format(name="half_g"))
    plugins.load("plug_g")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "plug_g.py").write_text(HALF.format(name="half_g"))
    assert plugins.load("plug_g", [tmp_path / "copy"]) == ["plug_g"]
    (tmp_path / "copy" / "plug_g.py").write_text("other = 1\n")
    assert refusal("plug_g", [tmp_path / "copy"]) == (
        f"plug-in 'plug_g': the name 'plug_g' belongs to {tmp_path}/plug_g.py: rename it"
    )


def test_the_name_of_a_module_of_python(tmp_path):
    (tmp_path / "json.py").write_text("")
    assert refusal("./json.py").startswith("plug-in './json.py': the name 'json' belongs to /")
    assert refusal("./json.py").endswith("json/__init__.py: rename it")


def test_a_missing_module(tmp_path):
    assert refusal("plug_nowhere") == (
        f"plug-in 'plug_nowhere': no such module in {tmp_path} or among the installed packages"
    )
    assert refusal("nowhere/plug.py") == (
        "plug-in 'nowhere/plug.py': no such file, package, or folder of .py files"
    )
    assert refusal("json.nowhere").startswith("plug-in 'json.nowhere': no such module in")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all' ({}:1)"),
        ("\n\nraise ValueError('a\\n b')\n", "ValueError: a b ({}:3)"),
        ("\nassert False\n", "AssertionError ({}:2)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 ({}:2)"),
        ("def x(:\n", "SyntaxError: invalid syntax (plug_h.py, line 1)"),
        (
            "from framework import register\n@register.schedule('bad')\nclass Bad: pass\n",
            "schedule 'bad' (plug_h): lacks __call__(self, step: 'int', steps: 'int') -> 'float', "
            "which a schedule needs ({}:2)",
        ),
    ],
)
def test_a_failing_import_says_why_and_where(tmp_path, source, message):
    path = tmp_path / "plug_h.py"
    path.write_text(source)
    expected = f"plug-in 'plug_h' failed to import: {message.format(path)}"
    assert refusal("plug_h") == expected
    assert "plug_h" not in sys.modules


def test_gin_files_import_plugins(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "plug_i.py").write_text(HALF.format(name="half_i"))
    (tmp_path / "sub" / "a.gin").write_text("import plug_i\n")
    assert Configuration.load(["sub/a.gin"]).plugins == ("plug_i",)
    assert registry.component("half_i")


def test_a_gin_file_names_the_line_of_a_failing_import(tmp_path):
    (tmp_path / "plug_j.py").write_text("1 / 0\n")
    (tmp_path / "a.gin").write_text("\nimport plug_j\n")
    with pytest.raises(UserError) as caught:
        Configuration.load(["a.gin"])
    assert str(caught.value) == (
        "a.gin:2: plug-in 'plug_j' failed to import: ZeroDivisionError: division by zero "
        f"({tmp_path}/plug_j.py:1)"
    )


def test_plugins_are_written_into_the_frozen_text(tmp_path):
    (tmp_path / "plug_k.py").write_text(HALF.format(name="half_k"))
    (tmp_path / "a.gin").write_text("")
    configuration = Configuration.load(["a.gin"], plugins=["./plug_k.py"])
    assert configuration.plugins == ("plug_k",)


def test_unknown_names_mention_what_failed(tmp_path, monkeypatch):
    (tmp_path / "plug_l.py").write_text(HALF.format(name="half_l"))
    (tmp_path / "plug_m.py").write_text("1 / 0\n")
    entries = [EntryPoint(n, n, plugins.GROUP) for n in ("plug_m", "plug_l")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    monkeypatch.setattr(plugins, "_installed_loaded", False)
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load_installed()
    with pytest.raises(UserError) as caught:
        registry.component("schedules.hal_l")
    assert str(caught.value) == (
        "no schedule is called 'hal_l'; did you mean half_l? Known: half_l (plug_l) (plug-in "
        f"'plug_m' failed to import: ZeroDivisionError: division by zero ({tmp_path}/plug_m.py:1))"
    )
