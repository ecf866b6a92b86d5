"""Names of families: registering, finding, and plugins that are really installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metarl.errors import UserError
from metarl.tasks import TaskDistribution, Uniform, make, names, register, registry

BUILT_IN = [
    "HalfCheetahDir-v0",
    "HalfCheetahDirMAML-v0",
    "HalfCheetahVel-v0",
    "HalfCheetahVelMAML-v0",
    "PointNavigation-v0",
]


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    names()
    monkeypatch.setattr(registry, "_families", dict(registry._families))


class _Family(TaskDistribution):
    parameters = {"speed": Uniform(0.0, 1.0)}

    def __init__(self, horizon: int = 10):
        self.horizon = horizon


def test_the_built_in_families_are_there_in_alphabetical_order():
    listed = names()
    assert [name for name in listed if name in BUILT_IN] == BUILT_IN
    assert listed == sorted(listed)


def test_make_gives_a_family_that_knows_its_name():
    for name in BUILT_IN:
        assert make(name).name == name


@pytest.mark.usefixtures("own_registry")
def test_options_go_to_the_constructor():
    register("Own-v0")(_Family)
    assert make("Own-v0", horizon=7).horizon == 7
    with pytest.raises(UserError, match=r"Own-v0 .* these options: speed; it takes horizon"):
        make("Own-v0", speed=1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HalfCheetahVell-v0", "did you mean 'HalfCheetahVel-v0'"),
        ("halfcheetahdir-v0", "did you mean 'HalfCheetahDir-v0'"),
        ("PointNavigation-v1", "did you mean 'PointNavigation-v0'"),
        ("zzz", "known: .*HalfCheetahVel-v0.*PointNavigation-v0"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known(name, hint):
    with pytest.raises(UserError, match=f"unknown task family '{name}'; {hint}"):
        make(name)


@pytest.mark.parametrize("name", ["Own", "Own-v", "Own-0", "0wn-v0", "Own v0-v0", "my/Own-v0", ""])
def test_a_name_has_a_version_and_no_odd_characters(name):
    with pytest.raises(ValueError, match="a family's name looks like 'HalfCheetahVel-v0'"):
        register(name)


@pytest.mark.usefixtures("own_registry")
def test_a_name_is_registered_once():
    register("Own-v0")(_Family)
    register("Own-v0")(_Family)  # the same class: a module imported again

    class Other(_Family):
        pass

    with pytest.raises(ValueError, match="Own-v0 is registered already, by "):
        register("Own-v0")(Other)
    assert type(make("Own-v0")) is _Family


@pytest.mark.usefixtures("own_registry")
def test_a_class_of_the_same_name_in_another_module_is_another_family():
    register("Own-v0")(_Family)
    namesake = type("_Family", (_Family,), {"__module__": "somebody.elses"})
    assert namesake.__qualname__ == _Family.__qualname__
    with pytest.raises(ValueError, match="registered already"):
        register("Own-v0")(namesake)


PLUGIN = """
from metarl.tasks import TaskDistribution, Uniform, register


@register("{name}")
class Family(TaskDistribution):
    parameters = {{"speed": Uniform(0.0, 1.0)}}
"""


def _install(folder: Path, package: str, source: str) -> None:
    """A package with an entry point, as an installer leaves it on the path."""
    (folder / f"{package}.py").write_text(source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[metarl.families]\n{package} = {package}\n")


def _run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )


def test_an_installed_plugin_is_found_without_importing_it(tmp_path: Path):
    _install(tmp_path, "hopping_tasks", PLUGIN.format(name="Hopping-v3"))
    done = _run(
        tmp_path,
        "from metarl.tasks import make, names\n"
        "print(*names())\n"
        "print(type(make('Hopping-v3')).__module__)\n",
    )
    listed, module = done.stdout.splitlines()
    assert "Hopping-v3" in listed.split()
    assert set(BUILT_IN) <= set(listed.split())
    assert module == "hopping_tasks"
    assert done.stderr == ""


def test_a_broken_plugin_warns_and_does_not_take_the_others_down(tmp_path: Path):
    # In alphabetical, in reverse and in any other order one of the good ones comes after it.
    _install(tmp_path, "a_tasks", PLUGIN.format(name="First-v0"))
    _install(tmp_path, "b_broken", "raise RuntimeError('no licence for this robot')\n")
    _install(tmp_path, "c_tasks", PLUGIN.format(name="Last-v0"))
    done = _run(tmp_path, "from metarl.tasks import names\nprint(*names())\n")
    assert {"First-v0", "Last-v0", *BUILT_IN} <= set(done.stdout.split())
    assert "plugin 'b_broken' could not be loaded" in done.stderr
    assert "no licence for this robot" in done.stderr


def test_a_plugin_that_takes_a_known_name_is_reported(tmp_path: Path):
    _install(tmp_path, "thief", PLUGIN.format(name="PointNavigation-v0"))
    done = _run(
        tmp_path,
        "from metarl.tasks import names\nimport warnings\nnames()\n",
    )
    assert "PointNavigation-v0 is registered already" in done.stderr


def test_a_module_may_be_named_before_the_family(tmp_path: Path):
    (tmp_path / "my_tasks.py").write_text(PLUGIN.format(name="Mine-v0"))
    done = _run(
        tmp_path,
        "from metarl.tasks import make, names\n"
        "assert 'Mine-v0' not in names()\n"
        "print(make('my_tasks:Mine-v0').name, make('Mine-v0').name)\n",
    )
    assert done.stdout.split() == ["Mine-v0", "Mine-v0"]


def test_a_module_in_the_current_folder_is_found_by_an_installed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A command's path starts with the folder that it is installed in, not with the current one.
    (tmp_path / "tasks_right_here.py").write_text(PLUGIN.format(name="Here-v0"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    monkeypatch.setattr(registry, "_families", dict(registry._families))
    try:
        assert make("tasks_right_here:Here-v0").name == "Here-v0"
    finally:
        sys.modules.pop("tasks_right_here", None)


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_tasks.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(UserError, match=r"'broken_tasks' cannot be imported: .*licence.*; mend it"):
        make("broken_tasks:Any-v0")
    with pytest.raises(UserError, match=r"'absent_tasks' cannot be imported: .*; run where it"):
        make("absent_tasks:Any-v0")
    with pytest.raises(UserError, match="unknown task family 'Absent-v0'"):
        make("metarl_envs.point:Absent-v0")
