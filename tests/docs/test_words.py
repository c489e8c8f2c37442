"""The words of the pages: spelled right, explained once, and one for one thing."""

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

# What may not be written, and the word for it.
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
    """Return what codespell finds in some files."""
    command = [str(tool("codespell")), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout


def other_words(text: str) -> list[str]:
    """Return each word of a text for which the glossary has another one."""
    return [
        f"{found[0]}: write {word}"
        for pattern, word in OTHER_WORDS.items()
        for found in re.finditer(rf"\b{pattern}\b", text, re.IGNORECASE)
    ]


def entries() -> dict[str, str]:
    """Return the words of the glossary with their sentences."""
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", GLOSSARY.read_text("utf-8"), re.DOTALL)
    found = [pair for block in blocks for pair in ENTRY.findall(block)]
    assert len(found) == len(dict(found)), "a word is explained twice"
    return dict(found)


def test_pages_are_spelled_right() -> None:
    """The site's, the repository's, the rendered project's, and what commands say."""
    files = [*PAGES, *ROOT.glob("*.md"), *(ROOT / PROJECT).rglob("*.md"), ROOT / "src"]
    assert misspelled(*files) == ""


def test_a_misspelled_word_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The gate has recieved it.\n", encoding="utf-8")
    assert "recieved ==> received" in misspelled(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_one_word_stands_for_one_thing(page: Path) -> None:
    assert other_words(page.read_text("utf-8")) == []


def test_another_word_for_a_thing_is_found() -> None:
    """The second sentence is the good twin."""
    assert other_words("Tune the hyperparameters on the test set.") == [
        "hyperparameters: write parameter",
        "test set: write held-out rows",
    ]
    assert other_words("Tune the parameters on the held-out rows.") == []


def test_the_glossary_explains_each_word_in_one_sentence() -> None:
    one = re.compile(r"[^.]+(\.\w[^.]*)*\.")
    assert [word for word, text in entries().items() if not one.fullmatch(text)] == []


def test_the_words_for_other_words_are_in_the_glossary() -> None:
    assert set(OTHER_WORDS.values()) - {"prod"} <= set(entries())


def test_each_word_of_the_glossary_is_used_on_a_page() -> None:
    text = "\n".join(page.read_text("utf-8").lower() for page in PAGES if page != GLOSSARY)
    assert [word for word in entries() if word.rstrip("n") not in text] == []


@pytest.mark.parametrize("word", ["job", "champion", "gate", "environment", "endpoint", "model"])
def test_words_of_the_commands_are_explained(word: str) -> None:
    """What `kedro mlops --help` says of the commands has them."""
    assert word in " ".join(COMMANDS.values())
    assert word in entries()


def test_a_page_of_a_role_has_five_links() -> None:
    pages = sorted((DOCS / "roles").glob("*.md"))
    links = {page.stem: len(re.findall(r"\]\(", page.read_text("utf-8"))) for page in pages}
    assert links == dict.fromkeys(
        ("data-scientist", "ml-engineer", "platform-engineer", "reviewer"), 5
    )
