"""The built site: it needs no network, its links work, and it renders well in a browser."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

import pytest
from pictures import find_chromium, open_browser, served

from kedro_azure_mlops import _PUBLIC, config
from kedro_azure_mlops.parameters import Parameters
from tests.helpers import ROOT, clean_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOCS = ROOT / "docs"
SCREEN = (1920, 1080)  # of a window, in pixels
NOWHERE = "http://127.0.0.1:9"  # the unused port `discard`

needs_browser = pytest.mark.skipif(
    not find_chromium(), reason="Chromium is missing: apt-get install chromium"
)


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build a site like `make docs` on a machine without network and browser."""
    environment = clean_environment(
        PATH=str(Path(sys.executable).parent), HTTP_PROXY=NOWHERE, HTTPS_PROXY=NOWHERE
    )
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    return subprocess.run(
        [*command, str(source), str(target)], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site built by `make docs`."""
    target = tmp_path_factory.mktemp("site")
    process = build(DOCS, target)
    assert process.returncode == 0, process.stderr
    return target


def pages_of(site: Path) -> list[str]:
    """List the handwritten pages by their addresses in the site."""
    names = (path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md"))
    return sorted(name.as_posix() for name in names if (site / name).is_file())


# Links


class _ParsedPage(HTMLParser):
    """The links of a page, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in {"href", "src"} and value:
                self.links.add(value)
            elif key == "id" and value:
                self.names.add(value)


def broken_links(site: Path) -> list[str]:
    """Return the links of a site to missing files or anchors."""
    read = {}
    for path in site.rglob("*.html"):
        page = _ParsedPage()
        page.feed(path.read_text(encoding="utf-8"))
        read[path.relative_to(site).as_posix()] = page
    broken = []
    for name, page in read.items():
        for link in page.links:
            if re.match(r"\w+:", link):
                continue
            path, _, anchor = unquote(urljoin(name, link)).partition("#")
            path = path.partition("?")[0]
            exists = (site / path).is_file() if path else True
            known = path not in read or not anchor or anchor in read[path].names
            if not exists or not known:
                broken.append(f"{name}: {link}")
    return broken


def test_links_lead_to_existing_files_and_anchors(site: Path) -> None:
    """Includes links that Sphinx generates."""
    assert broken_links(site) == []


def test_broken_links_are_reported(tmp_path: Path) -> None:
    """A file, an anchor in another page, an anchor in the same one; the last link works."""
    (tmp_path / "b.html").write_text('<p id="here">', encoding="utf-8")
    links = ["c.html", "b.html#away", "#away", "b.html#here"]
    text = "".join(f'<a href="{link}">' for link in links)
    (tmp_path / "a.html").write_text(text, encoding="utf-8")
    assert sorted(broken_links(tmp_path)) == [
        "a.html: #away",
        "a.html: b.html#away",
        "a.html: c.html",
    ]


@pytest.mark.parametrize("link", ["glossary.md", "glosary.md", "glossary.md#gaet"])
def test_a_page_with_a_broken_link_fails_the_build(link: str, tmp_path: Path) -> None:
    """The first link works."""
    (tmp_path / "conf.py").write_text(
        'extensions = ["myst_parser"]\nmyst_heading_anchors = 3\n', encoding="utf-8"
    )
    (tmp_path / "glossary.md").write_text("---\norphan: true\n---\n# Gate\n", encoding="utf-8")
    (tmp_path / "index.md").write_text(f"# Start\n\n[words]({link})\n", encoding="utf-8")
    process = build(tmp_path, tmp_path / "built")
    assert (process.returncode == 0) == (link == "glossary.md"), process.stderr


# In a browser


@dataclass(frozen=True)
class Look:
    """The measurements of a page in a browser."""

    screens: float
    too_wide_by: int  # pixels, in a window of 400
    faults: list[str]  # of accessibility, serious or critical


def test_every_public_name_has_an_entry(site: Path) -> None:
    """Public functions and classes are documented on a page of the reference."""
    pages = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    names = [f"kedro_azure_mlops.{module}.{name}" for name, module in _PUBLIC.items()]
    assert [name for name in names if f'id="{name}"' not in pages] == []


def test_every_key_of_the_configuration_has_a_meaning(site: Path) -> None:
    html = (site / "reference" / "configuration.html").read_text("utf-8")
    rows = [
        re.findall(r"<td><p>(.*?)</p></td>", row) for row in re.findall("<tr.*?</tr>", html, re.S)
    ]
    meanings = [(re.sub("<.*?>", "", cells[0]), cells[3]) for cells in rows if cells]
    models = [one for one in vars(config).values() if isinstance(one, type)]
    keys = {key for one in models if issubclass(one, Parameters) for key in one.model_fields}
    assert {key for key, _ in meanings} == keys
    assert not [key for key, meaning in meanings if not meaning]
    assert ("seconds_between_steps", "how long each step is watched") in meanings


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with open_browser() as opened:
        yield opened


def serious_faults(page: "Page", colours: bool = True) -> list[str]:
    """Return the serious violations that axe-core finds on a page, with their elements."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {"color-contrast": {"enabled": colours}}
    options = {"resultTypes": ["violations"], "rules": rules}
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in violations
        if one["impact"] in {"serious", "critical"}
    ]


def look_at(page: "Page", address: str) -> Look:
    """Measure a page in a wide window and a narrow one, and check its accessibility."""
    page.set_viewport_size({"width": SCREEN[0], "height": SCREEN[1]})
    page.goto(address)
    height = page.evaluate("document.querySelector('article').getBoundingClientRect().height")
    # Checking colours takes seconds on long pages, which have the same colours as others.
    faults = serious_faults(page, colours=height < 5 * SCREEN[1])
    page.set_viewport_size({"width": 400, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return Look(height / SCREEN[1], wide, faults)


@pytest.fixture(scope="module")
def looks(site: Path, browser: "Browser") -> dict[str, Look]:
    """The measurements of each handwritten page."""
    page = browser.new_page()
    with served(site) as address:
        return {name: look_at(page, f"{address}/{name}") for name in pages_of(site)}


@needs_browser
def test_no_page_has_a_serious_accessibility_fault(looks: dict[str, Look]) -> None:
    """Checked by axe-core; the dark theme is tested below."""
    assert {name: look.faults for name, look in looks.items() if look.faults} == {}


@needs_browser
@pytest.mark.parametrize(
    "name", ["index", "glossary", "explanation/architecture", "roles/reviewer"]
)
def test_the_dark_theme_has_no_serious_fault(site: Path, browser: "Browser", name: str) -> None:
    """Colours come from the theme: one page of each kind is enough."""
    page = browser.new_page(color_scheme="dark")
    with served(site) as address:
        page.goto(f"{address}/{name}.html")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 60
        assert serious_faults(page) == []


@needs_browser
def test_only_reference_pages_are_longer_than_two_screens(looks: dict[str, Look]) -> None:
    """A screen is 1080 pixels of the article in a window of 1920 x 1080."""
    long = {name: round(look.screens, 2) for name, look in looks.items() if look.screens > 2}
    assert {name for name in long if not name.startswith("reference/")} == set(), long


@needs_browser
def test_role_pages_fit_one_screen(looks: dict[str, Look]) -> None:
    """Readers see all of it without scrolling."""
    roles = {name: look.screens for name, look in looks.items() if name.startswith("roles/")}
    assert len(roles) == 4
    assert {name: screens for name, screens in roles.items() if screens > 1} == {}


@needs_browser
def test_no_page_scrolls_sideways_on_a_phone(looks: dict[str, Look]) -> None:
    """Tables and commands may scroll within the page."""
    assert {name: look.too_wide_by for name, look in looks.items() if look.too_wide_by > 0} == {}


@needs_browser
def test_faults_of_a_page_are_reported(browser: "Browser", tmp_path: Path) -> None:
    """A picture without alternative text, three empty screens, and an unbreakable line."""
    page = browser.new_page()
    content = "<img src=x><p style='height:3240px'></p><p>" + "x" * 400
    (tmp_path / "page.html").write_text(
        f"<!doctype html><html lang=en><title>t</title><main><article>{content}</article></main>",
        encoding="utf-8",
    )
    look = look_at(page, (tmp_path / "page.html").as_uri())
    assert look.screens > 3
    assert look.too_wide_by > 0
    assert any("image-alt" in fault for fault in look.faults)


@needs_browser
def test_the_search_finds_only_words_on_the_pages(site: Path, browser: "Browser") -> None:
    """Uses the search box like a reader."""
    page = browser.new_page()
    with served(site) as address:
        page.goto(address)
        page.get_by_placeholder("Search").fill("champion")
        page.get_by_placeholder("Search").press("Enter")
        results = page.locator("#search-results li a")  # they appear one after the other
        results.filter(has_text="From a run to production").first.wait_for()
        page.goto(f"{address}/search.html?q=qwertzuiop")
        page.get_by_text("did not match any documents").wait_for()
        assert page.locator("#search-results li").count() == 0
