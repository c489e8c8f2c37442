"""The page of the first run shows what a run prints."""

from tests.helpers import ROOT
from tests.pages import compare, read_blocks
from tests.template.sample.helpers import Project

PAGE = ROOT / "docs" / "tutorials" / "first-run.md"


def test_the_page_shows_the_report_of_a_run(ran: Project) -> None:
    """Dots stand for what is left out."""
    (shown,) = (b for b in read_blocks(PAGE.read_text("utf-8")) if b.kind == "text")
    assert len([line for line in shown.text.splitlines() if line != "..."]) > 8
    compare(PAGE, shown, ran.processed("report.txt").read_text("utf-8"))
