"""The built wheel, alone in a new environment, carries all of the project and runs anywhere."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("mbp", "rules", "templates", "generated", "setup.py", "pyproject.toml", "README.md",
           "LICENSE")
STEP = """
import torch
F = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
o2p(F).sum().backward()
print(F.grad.isfinite().all().item())
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that no build/ is left in the project."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name,
                            ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", built, source],
        check=True,
    )
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel, and this one's libraries after it.

    A path file reaches the libraries without running this environment's own path files, so
    its editable install of the project stays out of sight.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         wheel],
        check=True,
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def run(command: list[str | Path], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_carries_every_module_rule_and_template(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"mbp/{path.relative_to(ROOT / 'mbp')}" for path in (ROOT / "mbp").rglob("*.py")}
    for folder, pattern in (("rules", "*.toml"), ("templates", "*.jinja"), ("generated", "*.py")):
        found = {path.relative_to(ROOT) for path in (ROOT / folder).rglob(pattern)}
        assert found, f"{folder}/ holds no {pattern}"
        expected |= {f"mbp/{path}" for path in found}
    assert expected <= names
    assert {name.split("/")[0] for name in names} == {"mbp", "mbp-0.1.0.dist-info"}


def test_installed_package_is_the_wheel_and_not_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    shown = run([installed / "python", "-c",
                 "import mbp, mbp.generated, mbp.rules, mbp.templates\n"
                 "for m in (mbp, mbp.generated, mbp.rules, mbp.templates): print(m.__file__)"],
                tmp_path)
    assert all(Path(line).is_relative_to(installed.parent) for line in shown.split())


def test_installed_wheel_emits_a_layer_from_anywhere(installed: Path, tmp_path: Path) -> None:
    run([installed / "mbp", "emit", "o2p", "-o", "out"], tmp_path)
    assert (tmp_path / "out" / "o2p.py").read_bytes() == (ROOT / "generated/o2p.py").read_bytes()


def test_generated_module_of_the_wheel_trains(installed: Path, tmp_path: Path) -> None:
    assert run([installed / "python", "-c", f"from mbp.generated.o2p import o2p\n{STEP}"],
               tmp_path).strip() == "True"


def test_generated_module_runs_where_only_torch_is(installed: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "generated" / "o2p.py", tmp_path / "copied.py")
    shown = run([installed / "python", "-c",
                 f"from copied import o2p\n{STEP}\nimport sys; print('mbp' in sys.modules)"],
                tmp_path)
    assert shown.split() == ["True", "False"]


def test_importing_the_package_imports_no_torch(installed: Path, tmp_path: Path) -> None:
    shown = run([installed / "python", "-c", "import sys, mbp; print('torch' in sys.modules)"],
                tmp_path)
    assert shown.strip() == "False"
