"""What the extras pin and what the constraints file pins is one set of versions."""

import re
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

ROOT = Path(__file__).parents[2]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(lines: list[str]) -> dict[str, str]:
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonical(name): number.strip() for name, number in pairs}


def constraints() -> dict[str, str]:
    return pinned((ROOT / "requirements" / "dev.txt").read_text().splitlines())


def test_extras_agree_with_the_constraints() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"]
    exact = extras["dev"] + extras["examples"] + extras["benchmarks"]
    pins = pinned(exact)
    assert len(pins) == len(exact)
    assert pins.items() <= constraints().items()


def test_the_data_packages_are_installed_as_pinned() -> None:
    data = pinned((ROOT / "requirements" / "data.txt").read_text().splitlines())
    assert data
    assert data == {name: version(name) for name in data}


def test_every_dependency_is_constrained() -> None:
    seen, pending = set(), ["mbp[dev,examples]"]
    while pending:
        requirement = pending.pop()
        name, _, extras = requirement.partition("[")
        for line in distribution(name).requires or []:
            text, _, marker = line.partition(";")
            wanted = not marker or any(
                f'extra == "{extra}"' in marker for extra in extras.rstrip("]").split(","))
            match = re.match(r"[\w.-]+", text.strip())
            assert match is not None
            needed = canonical(match[0])
            if wanted and needed not in seen:
                seen.add(needed)
                pending.append(needed)
    assert seen <= constraints().keys()
    for name in seen:
        assert version(name).split("+")[0] == constraints()[name]
