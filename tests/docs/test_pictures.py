"""The site shows the pictures that the script makes; the script reports those it cannot make."""

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
    """Replace the render by one that has run once; further runs succeed, or fail with a message."""

    def replace_sample(fails: str = "") -> Path:
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

    return replace_sample


def test_other_pictures_are_made_without_a_browser(
    sample: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the missing program and the fix; the exit status is 2."""
    folder = sample()
    assert pictures.main() == 2
    assert {path.name for path in folder.iterdir()} == {"timeline.png"}
    assert (folder / "timeline.png").read_bytes().startswith(PNG)
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "failed, keeping the earlier one: pipeline, MLflow, report: no Chromium" in errors
    assert "apt-get install chromium" in errors


def test_a_failed_run_is_reported_and_keeps_the_earlier_picture(
    sample: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sample(fails="kedro run ended with 1")
    folder.mkdir()
    (folder / "timeline.png").write_bytes(b"earlier")
    assert pictures.main() == 2
    assert (folder / "timeline.png").read_bytes() == b"earlier"
    assert "timeline: kedro run ended with 1" in capsys.readouterr().err


def test_pictures_are_small() -> None:
    """Every clone contains all of them."""
    assert {n for n in NAMES if (MEDIA / n).stat().st_size >= pictures.LIMIT} == set()


def test_pages_show_exactly_the_existing_pictures() -> None:
    shown = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in LINK.findall(page.read_text("utf-8"))
    }
    assert shown == NAMES


@pytest.mark.slow
@pytest.mark.skipif(
    not pictures.find_chromium(), reason="Chromium is missing: apt-get install chromium"
)
def test_the_script_makes_all_pictures(tmp_path: Path) -> None:
    """Uses a fresh render, its runs, MLflow's server, kedro-viz and the monitor."""
    assert pictures.make_pictures(tmp_path) == []
    pictures_made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(pictures_made) == NAMES
    assert all(content.startswith(PNG) for content in pictures_made.values())
