"""The tutorials are executed word for word: they work, show the real output, change few files."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.pages import PageError, execute_page, read_blocks

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
def run_page(tmp_path: Path) -> Callable[..., None]:
    """Execute the page above, optionally with one replacement."""

    def do(old: str = "", new: str = "") -> None:
        assert old in GREETING
        page = tmp_path / "page.md"
        page.write_text(GREETING.replace(old, new, 1), encoding="utf-8")
        execute_page(page, tmp_path)

    return do


def test_the_blocks_of_a_page_share_a_shell(run_page: Callable[..., None], tmp_path: Path) -> None:
    run_page()
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
def test_page_errors_name_the_line(
    run_page: Callable[..., None], old: str, new: str, message: str
) -> None:
    with pytest.raises(PageError, match=f"(?s){message}"):
        run_page(old, new)


def test_an_endless_page_is_stopped(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nsleep 600\n```\n", encoding="utf-8")
    with pytest.raises(PageError, match=r"page\.md:1: not done after 0\.1 s:\n$"):
        execute_page(page, tmp_path, seconds=0.1)


@pytest.fixture(scope="module")
def anomalies(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the anomalies tutorial."""
    return follow("anomalies", template, tmp_path_factory.mktemp("anomalies"))


def follow(name: str, template: Path, folder: Path) -> Path:
    """Execute a tutorial, and return its project."""
    execute_page(TUTORIALS / f"{name}.md", folder, template=template)
    (project,) = folder.glob("*/pyproject.toml")
    return project.parent


def files_changed(name: str) -> set[str]:
    """Return the files that a page lists as changed; executing the page verifies the list."""
    page = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^ (\S+) +\| +\d+ [+-]+$", page, re.M))


def test_adding_a_feature_column_changes_at_most_three_files() -> None:
    (edit,) = (
        block.text
        for block in read_blocks((TUTORIALS / "humidity.md").read_text(encoding="utf-8"))
        if block.kind == "diff" and "numbers: [temperature, humidity]" in block.text
    )
    column_files = set(re.findall(r"^\+\+\+ b/(\S+)$", edit, re.M))
    assert column_files < files_changed("humidity")
    assert 1 < len(column_files) <= 3


@pytest.mark.slow
def test_your_own_csv_is_trained_gated_and_served(template: Path, tmp_path: Path) -> None:
    project = follow("your-own-csv", template, tmp_path)
    # the page itself waits for the answer and compares it
    log = (project / "data/interim/serve.log").read_text(encoding="utf-8")
    assert "champion of local, tumours version 1" in log, "the refused version 2 is not served"


@pytest.mark.slow
def test_a_column_and_another_estimator_reach_the_scores(template: Path, tmp_path: Path) -> None:
    project = follow("humidity", template, tmp_path)
    with (project / "data/processed/scores.csv").open(encoding="utf-8") as scores:
        header = scores.readline().strip()
    assert header == "timestamp,sensor_id,temperature,humidity,score,is_anomaly"


@pytest.mark.slow
def test_the_anomalies_are_found_drawn_and_packaged(anomalies: Path) -> None:
    assert (anomalies / "build/index.html").is_file()
    data = anomalies.parent / "elsewhere" / "data"
    assert (data / "interim/clean_temperatures.parquet").is_file()
    assert not (data / "processed").exists(), "only one pipeline was requested"
