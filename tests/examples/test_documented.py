"""The code that README.md and docs/training.md show runs as printed."""

import re
from pathlib import Path

import pytest

from mbp.emit.module import class_name

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/training.md"])
def test_python_blocks_run_in_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)  # what they emit stays out of the project
    source = tmp_path / "page.py"  # mbp reads a layer's source
    source.write_text("\n".join(blocks))
    exec(compile(source.read_text(), source, "exec"), {"__name__": "page"})


def test_layers_and_their_classes_are_named_as_documented() -> None:
    pairs = re.findall(r"`(\w+)`\s+gives `(\w+)`", (ROOT / "docs/training.md").read_text())
    assert pairs and all(class_name(layer) == cls for layer, cls in pairs)
