"""The page of the first run shows what a run prints."""

import re

from tests.helpers import ROOT
from tests.template.sample.helpers import Project

PAGE = ROOT / "docs" / "tutorials" / "first-run.md"


def test_the_page_shows_lines_of_the_report_in_their_order(ran: Project) -> None:
    """A line of dots stands for lines that are left out."""
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    lines = [line for line in shown.splitlines() if line != "..."]
    report = ran.processed("report.txt").read_text("utf-8").splitlines()
    assert len(lines) > 8
    assert [line for line in report if line in lines] == lines
