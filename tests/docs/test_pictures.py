"""The pictures of the site are what the script makes, and what it cannot make it names."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pictures
import pytest

from tests.helpers import ROOT

MEDIA = ROOT / "docs" / "media"
NAMES = {picture.name for picture in MEDIA.iterdir()}
PNG = b"\x89PNG\r\n\x1a\n"
LINK = re.compile(r"media/([\w-]+\.png)")


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Replace the render by one that has been run, whose runs end as given."""

    def of(fails: str = "") -> Path:
        class Sample(pictures.Sample):
            def __init__(self, folder: Path) -> None:
                self.path = folder
                plot = folder / "data/processed/timeline.png"
                plot.parent.mkdir(parents=True)
                plot.write_bytes((MEDIA / "timeline.png").read_bytes())

            def run(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
                if fails:
                    raise RuntimeError(fails)

        monkeypatch.setattr(pictures, "Sample", Sample)
        monkeypatch.setattr(pictures, "find_chromium", lambda: None)
        monkeypatch.setattr(sys, "argv", ["pictures.py", "--into", str(tmp_path / "made")])
        return tmp_path / "made"

    return of


def test_without_a_browser_the_rest_is_made(
    sample: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence says what is missing and what to do; the status is that of 'could not try'."""
    made = sample()
    assert pictures.main() == 2
    assert {path.name for path in made.iterdir()} == {"timeline.png"}
    assert (made / "timeline.png").read_bytes().startswith(PNG)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not made, keeping the earlier one: pipeline, MLflow, report: no Chromium" in said
    assert "apt-get install chromium" in said


def test_a_run_that_fails_is_named_and_the_earlier_picture_stays(
    sample: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made = sample(fails="kedro run ended with 1")
    made.mkdir()
    (made / "timeline.png").write_bytes(b"earlier")
    assert pictures.main() == 2
    assert (made / "timeline.png").read_bytes() == b"earlier"
    assert "timeline: kedro run ended with 1" in capsys.readouterr().err


def test_pictures_are_small() -> None:
    """A clone carries each of them for ever."""
    assert {n for n in NAMES if (MEDIA / n).stat().st_size >= pictures.LIMIT} == set()


def test_each_picture_is_shown_on_a_page_and_each_shown_one_is_there() -> None:
    shown = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in LINK.findall(page.read_text("utf-8"))
    }
    assert shown == NAMES


@pytest.mark.slow
@pytest.mark.skipif(
    not pictures.find_chromium(), reason="no Chromium here: apt-get install chromium"
)
def test_the_script_makes_all_of_them(tmp_path: Path) -> None:
    """From a fresh render, its runs, MLflow's server, kedro-viz and the monitor."""
    assert pictures.make_pictures(tmp_path) == []
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == NAMES
    assert all(content.startswith(PNG) for content in made.values())
