"""The README of this repository is short, has working links and lists every question."""

import json
import re

from tests.helpers import ROOT

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBERS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def test_the_front_page_is_short() -> None:
    assert len(PAGE.splitlines()) < 90


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    local = [link for link in links if "://" not in link]
    assert len(local) >= 10
    assert [link for link in local if not (ROOT / link).is_file()] == []


def test_every_compared_project_has_a_link() -> None:
    references = set(re.findall(r"\[([^]]+)\](?![(:])", PAGE)) - {"azure"}  # an extra of the plugin
    addresses = dict(re.findall(r"^\[([^]]+)\]: (https://\S+)$", PAGE, re.MULTILINE))
    assert references == set(addresses)
    assert len(addresses) == 5


def test_the_front_page_lists_every_question_and_their_number() -> None:
    answers = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    questions = {name for name in answers if not name.startswith("_")}
    table = PAGE.split("| question |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == questions
    assert f"\n{NUMBERS[len(questions)]}, all with a default" in PAGE


def test_every_row_of_the_table_has_a_cell_for_each_project() -> None:
    table = PAGE.split("## Compared with others")[1].split("\n\n")[1].splitlines()
    assert len(table) > 10
    assert {row.count("|") for row in table} == {8}
    assert not any(re.search(r"\|\s*\|", row) for row in table[3:])
