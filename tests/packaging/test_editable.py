"""The editable install finds the folders that live outside mbp/."""

import importlib
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["rules", "templates", "generated"])
def test_top_level_folder_imports_as_a_subpackage(folder: str) -> None:
    module = importlib.import_module(f"mbp.{folder}")
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / folder


def test_rules_are_read_as_package_data() -> None:
    assert (files("mbp.rules") / "identities.toml").is_file()
