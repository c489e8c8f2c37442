"""The tutorials are typed word for word: they work, print what they show, and touch few files."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.pages import PageError, do_page, read_blocks

TUTORIALS = ROOT / "docs" / "tutorials"

GREETING = """\
# A page

Make a folder and go there:

```bash
mkdir -p place && cd place
git init --quiet
```

```{code-block} text
:caption: names/first.txt

Ada
Grace
```

```diff
--- a/names/first.txt
+++ b/names/first.txt
@@ -1,2 +1,2 @@
-Ada
+Ada Lovelace
 Grace
```

```json
{"only": "looked at"}
```

```bash
greeting=Hello
sleep 600 &
cat names/first.txt && date
```

```text
Ada Lovelace
...
```

```bash
kill %1
echo "$greeting" >&2; echo "from ${PWD##*/}"
ls nowhere  # exit status 2
```

```text
Hello
from place
ls: ... 'nowhere': No such file or directory
```
"""


@pytest.fixture
def typed(tmp_path: Path) -> Callable[..., None]:
    """Type the page above, with one thing in it replaced by another."""

    def do(old: str = "", new: str = "") -> None:
        assert old in GREETING
        page = tmp_path / "page.md"
        page.write_text(GREETING.replace(old, new, 1), encoding="utf-8")
        do_page(page, tmp_path)

    return do


def test_a_page_is_typed_into_one_shell(typed: Callable[..., None], tmp_path: Path) -> None:
    typed()
    assert (tmp_path / "place/names/first.txt").read_text() == "Ada Lovelace\nGrace\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "Ada Lovelace\n...",
            "Ada Byron\n...",
            r"page\.md:36: the output differs; it is.*\nAda L",
        ),
        ("from place\n", "", r"page\.md:47: the output differs; it is"),
        (
            "git init",
            "git inti",
            r"page\.md:7: `git inti --quiet` ended with status 1, not 0:\n.*git",
        ),
        ("status 2", "status 0", r"page\.md:44: `ls nowhere .*ended with status 2, not 0"),
        ("ls nowhere", "ls .", r"page\.md:4.: .*ended with status 0, not 2"),
        ("-Ada\n", "-Eve\n", r"page\.md:17: this edit does not apply:\nerror: patch failed: names"),
        ("names/first.txt\n\n", "/dev/null/x\n\n", r"page\.md:10: this file cannot be written"),
        ("```bash\nkill", "```json\nkill", r"page\.md:47: this output does not follow"),
    ],
)
def test_what_a_page_gets_wrong_is_named_with_its_line(
    typed: Callable[..., None], old: str, new: str, message: str
) -> None:
    with pytest.raises(PageError, match=f"(?s){message}"):
        typed(old, new)


def test_a_page_that_does_not_end_is_ended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nsleep 600\n```\n", encoding="utf-8")
    with pytest.raises(PageError, match=r"page\.md:1: not done after 0\.1 s:\n$"):
        do_page(page, tmp_path, seconds=0.1)


@pytest.fixture(scope="module")
def anomalies(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the page about anomalies makes."""
    return follow("anomalies", template, tmp_path_factory.mktemp("anomalies"))


def follow(name: str, template: Path, folder: Path) -> Path:
    """Type a tutorial, and return the project that it makes."""
    do_page(TUTORIALS / f"{name}.md", folder, template=template)
    (project,) = folder.glob("*/pyproject.toml")
    return project.parent


def files_changed(name: str) -> set[str]:
    """Return the files that a page shows as changed; the test that types it compares them."""
    page = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^ (\S+) +\| +\d+ [+-]+$", page, re.M))


def test_a_feature_column_takes_at_most_three_files_and_their_tests() -> None:
    (edit,) = (
        block.text
        for block in read_blocks((TUTORIALS / "humidity.md").read_text(encoding="utf-8"))
        if block.kind == "diff" and "numbers: [temperature, humidity]" in block.text
    )
    of_column = set(re.findall(r"^\+\+\+ b/(\S+)$", edit, re.M))
    assert of_column < files_changed("humidity")
    assert 1 < len(of_column) <= 3


@pytest.mark.slow
def test_your_own_csv_is_trained_gated_and_served(template: Path, tmp_path: Path) -> None:
    project = follow("your-own-csv", template, tmp_path)
    assert "ready at http://127.0.0.1" in (project / "data/interim/serve.log").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_a_column_and_another_estimator_reach_the_scores(template: Path, tmp_path: Path) -> None:
    project = follow("humidity", template, tmp_path)
    with (project / "data/processed/scores.csv").open(encoding="utf-8") as scores:
        header = scores.readline().strip()
    assert header == "timestamp,sensor_id,temperature,humidity,score,is_anomaly"


@pytest.mark.slow
def test_the_anomalies_are_found_drawn_and_packaged(anomalies: Path) -> None:
    assert (anomalies / "build/index.html").is_file()
    there = anomalies.parent / "elsewhere" / "data"
    assert (there / "interim/clean_temperatures.parquet").is_file()
    assert not (there / "processed").exists(), "one pipeline was asked for"
