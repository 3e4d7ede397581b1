"""Finds the data folders, `rules` and `templates`, that are installed beside the code."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any


def folder(name: str) -> Traversable:
    """The installed folder `name` (`rules` or `templates`)."""
    return files(f"mbp.{name}")


def rules_table(name: str) -> dict[str, Any]:
    """The entries of `rules/<name>.toml`."""
    return tomllib.loads((folder("rules") / f"{name}.toml").read_text(encoding="utf-8"))
