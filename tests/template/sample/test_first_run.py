"""The first-run tutorial shows the report that a run prints."""

from tests.helpers import ROOT
from tests.pages import compare, read_blocks
from tests.template.sample.helpers import Project

PAGE = ROOT / "docs" / "tutorials" / "first-run.md"


def test_the_page_shows_the_report_of_a_run(ran: Project) -> None:
    """Dots mark omitted lines."""
    (block,) = (b for b in read_blocks(PAGE.read_text("utf-8")) if b.kind == "text")
    assert len([line for line in block.text.splitlines() if line != "..."]) > 8
    compare(PAGE, block, ran.processed("report.txt").read_text("utf-8"))
