"""The package list against the tree, and a built wheel in another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_package_list_is_the_tree(setuptools_table: dict[str, Any]) -> None:
    source = ROOT / "src"
    packages = {
        ".".join(path.parent.relative_to(source).parts) for path in (source / "ganbench").rglob("__init__.py")
    }
    assert set(setuptools_table["packages"]) == packages | {"ganbench.conf"}
    assert setuptools_table["package-dir"] == {"ganbench": "src/ganbench", "ganbench.conf": "conf"}


def test_every_folder_with_modules_is_a_package() -> None:
    for module in (ROOT / "src").rglob("*.py"):
        assert (module.parent / "__init__.py").exists(), module
    assert (ROOT / "conf" / "__init__.py").exists()


def data_files(folder: Path) -> set[Path]:
    skipped = {".py", ".pyc", ".pyi"}
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in skipped and "__pycache__" not in path.parts
    }


def test_every_data_file_is_matched_by_a_pattern(setuptools_table: dict[str, Any]) -> None:
    patterns = setuptools_table["package-data"]
    folders = {
        name: ROOT / ("conf" if name == "ganbench.conf" else "src/" + name.replace(".", "/"))
        for name in setuptools_table["packages"]
    }
    matched = {
        path for name, globs in patterns.items() for pattern in globs for path in folders[name].glob(pattern)
    }
    for folder in (ROOT / "conf", ROOT / "src" / "ganbench"):
        missing = {folder / path for path in data_files(folder)} - matched
        assert not missing, f"not shipped: {missing}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a freshly built wheel was installed."""
    pytest.importorskip("setuptools", minversion="77")
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    # A copy: a build leaves folders behind.
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("src", "conf"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run(*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "-w", str(work / "dist"), cwd=source)
    (wheel,) = (work / "dist").glob("ganbench-*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(work / "site"), str(wheel), cwd=work)
    return work / "site"


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, timeout=200
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_wheel_ships_every_file(installed: Path) -> None:
    assert data_files(installed / "ganbench" / "conf") == data_files(ROOT / "conf")
    shipped = {path for path in data_files(installed / "ganbench") if path.parts[0] != "conf"}
    assert shipped == data_files(ROOT / "src" / "ganbench")
    weights = installed / "ganbench" / "metrics" / "weights"
    for name in ("mnist_judge.safetensors", "digits_judge.safetensors"):
        assert (weights / name).stat().st_size > 10_000
    modules = {path.relative_to(ROOT / "src") for path in (ROOT / "src" / "ganbench").rglob("*.py")}
    assert all((installed / module).exists() for module in modules)


def test_wheel_works_in_another_folder(installed: Path, tmp_path: Path) -> None:
    """Composes from there, not from this checkout."""
    code = (
        "import ganbench, ganbench.conf, ganbench.config as c;"
        "print(ganbench.__file__, ganbench.conf.__file__, sep='\\n');"
        "print(c.run_name(c.compose(['loss=wgan_gp', 'model=cgan', '+experiment=demo'])))"
    )
    lines = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()
    assert [Path(line).is_relative_to(installed) for line in lines[:2]] == [True, True]
    assert lines[2].startswith("digits/cgan/")
