"""The sample programs that docs/languages.md quotes. Run as a module, it updates the page."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "languages.md"
SHORTEST = Path(__file__).parent / "shortest"
FILES = {"go": "main.go", "java": "Main.java", "rust": "main.rs", "cpp": "main.cc"}


def shortest(language: str) -> str:
    """Return the shortest whole call in a language."""
    return (SHORTEST / FILES[language]).read_text()


def with_quotes(page: str) -> str:
    """Return the page with each of its programs as the file has it."""
    return re.sub(
        r"(?ms)^```(\w+)\n.*?^```$",
        lambda block: f"```{block[1]}\n{shortest(block[1])}```",
        page,
    )


if __name__ == "__main__":
    PAGE.write_text(with_quotes(PAGE.read_text()))
