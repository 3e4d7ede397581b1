"""The README shows what the program prints."""

from pathlib import Path

from mbp.layers import o2p

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_shows_the_derivation_as_it_is_printed() -> None:
    assert f"```\n{o2p.derive().to_text()}```\n" in README.read_text()
