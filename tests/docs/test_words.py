"""The words of the pages: correct spelling, one definition each, one word per concept."""

import re
import subprocess
from pathlib import Path

import pytest

from kedro_azure_mlops.cli import COMMANDS
from tests.helpers import PROJECT, ROOT, tool

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GLOSSARY = DOCS / "glossary.md"
ENTRY = re.compile(r"^(\S.*)\n  (\S.*)$", re.MULTILINE)

# Words to avoid, and their replacements.
OTHER_WORDS = {
    r"data sets?": "dataset",
    r"hyper-?parameters?": "parameter",
    r"(?:test|hold-?out|validation) sets?": "held-out rows",
    r"production environment": "prod",
    r"roll-backs?": "rollback",
    r"web services?": "endpoint",
    r"time[ -]?series data": "series",
    r"data drift": "drift",
    r"champion model": "champion",
    r"model artifacts?": "model folder",
}


def misspelled(*files: Path) -> str:
    """Return the findings of codespell in some files."""
    command = [str(tool("codespell")), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout


def other_words(text: str) -> list[str]:
    """Return the words of a text that the glossary replaces with others."""
    return [
        f"{match[0]}: write {word}"
        for pattern, word in OTHER_WORDS.items()
        for match in re.finditer(rf"\b{pattern}\b", text, re.IGNORECASE)
    ]


def entries() -> dict[str, str]:
    """Return the entries of the glossary with their definitions."""
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", GLOSSARY.read_text("utf-8"), re.DOTALL)
    pairs = [pair for block in blocks for pair in ENTRY.findall(block)]
    assert len(pairs) == len(dict(pairs)), "a word is explained twice"
    return dict(pairs)


def test_pages_have_no_spelling_mistakes() -> None:
    """Checks pages of the site, the repository and the rendered project, and command output."""
    files = [*PAGES, *ROOT.glob("*.md"), *(ROOT / PROJECT).rglob("*.md"), ROOT / "src"]
    assert misspelled(*files) == ""


def test_a_misspelled_word_is_reported(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The gate has recieved it.\n", encoding="utf-8")
    assert "recieved ==> received" in misspelled(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_pages_use_one_word_per_concept(page: Path) -> None:
    assert other_words(page.read_text("utf-8")) == []


def test_synonyms_are_reported() -> None:
    """The second sentence is correct."""
    assert other_words("Tune the hyperparameters on the test set.") == [
        "hyperparameters: write parameter",
        "test set: write held-out rows",
    ]
    assert other_words("Tune the parameters on the held-out rows.") == []


def test_the_glossary_explains_each_word_in_one_sentence() -> None:
    one = re.compile(r"[^.]+(\.\w[^.]*)*\.")
    assert [word for word, text in entries().items() if not one.fullmatch(text)] == []


def test_preferred_words_are_in_the_glossary() -> None:
    assert set(OTHER_WORDS.values()) - {"prod"} <= set(entries())


def test_each_glossary_entry_is_used_on_a_page() -> None:
    text = "\n".join(page.read_text("utf-8").lower() for page in PAGES if page != GLOSSARY)
    assert [word for word in entries() if word.rstrip("n") not in text] == []


@pytest.mark.parametrize("word", ["job", "champion", "gate", "environment", "endpoint", "model"])
def test_words_in_command_descriptions_are_explained(word: str) -> None:
    """They occur in the output of `kedro mlops --help`."""
    assert word in " ".join(COMMANDS.values())
    assert word in entries()


def test_role_pages_have_five_links() -> None:
    pages = sorted((DOCS / "roles").glob("*.md"))
    links = {page.stem: len(re.findall(r"\]\(", page.read_text("utf-8"))) for page in pages}
    assert links == dict.fromkeys(
        ("data-scientist", "ml-engineer", "platform-engineer", "reviewer"), 5
    )
