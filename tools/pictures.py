"""Create the site's pictures: render the template, run the sample and take screenshots.

Each picture is a PNG in docs/media. A failed picture is reported, and the others are still created.
Exit status: 0 if all were created, otherwise 2.
"""

import argparse
import functools
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from cookiecutter.main import cookiecutter
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
MEDIA = ROOT / "docs" / "media"
LIMIT = 150_000  # bytes of a picture
WIDTH = 1280  # of a window, in pixels

# kedro-viz stores its view in the browser: show only the graph, with nodes only.
GRAPH = {
    "nodeType": {"disabled": {"parameters": True, "task": False, "data": True}},
    "visible": {"code": False, "graph": True, "miniMap": False, "sidebar": False},
    "layer": {"visible": False},
    "showFeatureHints": False,
    "flags": {"sizewarning": False},
}
# MLflow stores its open columns and panels in the browser, too.
RUNS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
}
COLUMNS = [
    "params.`detector.contamination`",
    *(f"metrics.`{name}`" for name in ("average_precision", "event_recall", "share_flagged")),
]
PATIENCE = 120_000  # milliseconds to wait for a page on a busy machine
EDGES_OF_THE_GRAPH = """() => {
  const all = [...document.querySelectorAll(".pipeline-node")].map(n => n.getBoundingClientRect());
  return [Math.min(...all.map(b => b.left)), Math.min(...all.map(b => b.top)),
          Math.max(...all.map(b => b.right)), Math.max(...all.map(b => b.bottom))];
}"""


def find_chromium() -> str | None:
    """Return the path of this machine's Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator["Browser"]:
    """Start this machine's Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root (as in a container) cannot use the sandbox; only our own pages are opened.
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class _SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write no log: requests would only clutter the output."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield its address."""
    handler = functools.partial(_SilentHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Sample:
    """A fresh render of the template that uses this repository's environment."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(
            cookiecutter(str(ROOT), no_input=True, default_config=True, output_dir=str(folder))
        )
        self.environment = os.environ | {"PYTHONPATH": str(self.path / "src")}

    def command(self, *arguments: str) -> list[str]:
        """Return a command from this repository's environment."""
        return [str(Path(sys.executable).parent / arguments[0]), *arguments[1:]]

    def run(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
        """Run a command in the project; raise RuntimeError with its last lines if it fails."""
        process = subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if process.returncode not in allowed:
            last = "\n".join((process.stdout + process.stderr).splitlines()[-5:])
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{last}")

    @contextmanager
    def mlflow(self) -> Iterator[str]:
        """Run MLflow's server on the project's runs; yield its address."""
        port = str(free_port())
        store = ("--backend-store-uri", "sqlite:///mlruns.db", "--workers", "1")
        server = subprocess.Popen(
            self.command("mlflow", "server", *store, "--host", "127.0.0.1", "--port", port),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health", server)
            yield address
        finally:
            server.terminate()
            server.wait()


def wait_for(address: str, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until a server answers; raise RuntimeError if it exits first or takes too long."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"MLflow's server did not answer within {seconds:.0f} s")


def save(content: bytes, name: str, target: Path, width: int = WIDTH) -> None:
    """Write a picture of at most this width, with fewer colours until it is below the limit."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if picture.width > width:
        picture = picture.resize(
            (width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS
        )
    for colours in (256, 128, 64, 32, 16):
        small = io.BytesIO()
        picture.quantize(colours).save(small, "png", optimize=True)
        if small.tell() < LIMIT:
            break
    else:
        raise RuntimeError(f"{name} has {small.tell():,} bytes, more than {LIMIT:,}")
    (target / name).write_bytes(small.getvalue())


def open_page(browser: "Browser", height: int, kept: dict[str, str] | None = None) -> "Page":
    """Open a window that loads nothing from other machines, with this local storage."""
    context = browser.new_context(viewport={"width": WIDTH, "height": height})
    context.route(re.compile(r"https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
    context.add_init_script(f"Object.assign(localStorage, {json.dumps(kept or {})})")
    return context.new_page()


def picture_timeline(sample: Sample, target: Path) -> None:
    """Save the plot that a run draws: readings, labelled faults, flagged readings."""
    sample.run("kedro", "run")
    save((sample.path / "data/processed/timeline.png").read_bytes(), "timeline.png", target)


def picture_pipeline(sample: Sample, browser: "Browser", target: Path) -> None:
    """Save the nodes of the pipeline, as kedro-viz exports them, on a light and a dark page."""
    sample.run("kedro", "viz", "build")
    with served(sample.path / "build") as address:
        for theme in ("light", "dark"):
            state = json.dumps(GRAPH | {"theme": theme, "orientation": "vertical"})
            page = open_page(browser, 1000, {"KedroViz": state})
            page.goto(address)
            page.locator(".pipeline-node").first.wait_for(timeout=PATIENCE)
            wait_until_still(page, EDGES_OF_THE_GRAPH)
            left, top, right, bottom = page.evaluate(EDGES_OF_THE_GRAPH)
            box = {"x": left - 24, "y": top - 16, "width": right - left + 48}
            content = page.screenshot(clip=box | {"height": bottom - top + 32})
            save(content, f"pipeline-{theme}.png", target)
            page.context.close()


def picture_mlflow(sample: Sample, browser: "Browser", target: Path) -> None:
    """Save the table of two runs and the metrics of the first."""
    sample.run("kedro", "run", "--params", "detector.contamination=0.05")
    with sample.mlflow() as address:
        answer = ask(
            f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name={sample.path.name}"
        )
        experiment = json.loads(answer)["experiment"]["experiment_id"]
        key = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'
        page = open_page(browser, 360, RUNS | {key: json.dumps({"selectedColumns": COLUMNS})})
        page.goto(f"{address}/#/experiments/{experiment}/runs")
        names = page.get_by_role("link", name="__default__")
        names.first.wait_for(timeout=PATIENCE)
        wait_until_still(page, "() => document.body.innerText")
        save(page.screenshot(), "mlflow-runs.png", target)
        page.set_viewport_size({"width": WIDTH, "height": 760})
        names.last.click()
        page.get_by_text("average_precision").first.wait_for(timeout=PATIENCE)
        wait_until_still(page, "() => document.body.innerText")
        # The panel to the right of the metrics names this machine and its user.
        edge = page.get_by_text("About this run").bounding_box() or {"x": WIDTH}
        clip = {"x": 0, "y": 0, "width": edge["x"] - 16, "height": 640}
        save(page.screenshot(clip=clip), "mlflow-run.png", target)
        page.context.close()


def picture_report(sample: Sample, browser: "Browser", target: Path) -> None:
    """Save the monitor's report on readings in which one sensor has shifted."""
    moved = sample.path / "data/raw/moved.csv"
    rows = pd.read_csv(sample.path / "data/raw/temperatures.csv")
    times = pd.to_datetime(rows["timestamp"])
    newest = (times > times.max() - pd.Timedelta("5D")) & (rows["sensor_id"] == "boiler")
    rows["temperature"] = rows["temperature"].mask(newest, (rows["temperature"] + 8).round(2))
    rows.to_csv(moved, index=False)
    sample.run("kedro", "mlops", "monitor", "--env", "local", "--input", str(moved), allowed=(0, 1))
    page = open_page(browser, 760)
    page.goto((sample.path / "build/monitor/local/report.html").as_uri())
    save(page.screenshot(), "report.png", target)
    page.context.close()


def ask(address: str) -> bytes:
    """Return the answer of a server on this machine."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        return bytes(answer.read())


def wait_until_still(page: "Page", expression: str) -> None:
    """Wait until the value of an expression has not changed for a second."""
    before, since = None, time.monotonic()
    end = since + 60
    while time.monotonic() < end and time.monotonic() - since < 1:
        now = page.evaluate(expression)
        if now != before:
            before, since = now, time.monotonic()
        page.wait_for_timeout(100)


def make_pictures(target: Path) -> list[str]:
    """Create all pictures in a folder; return a sentence for each one that failed."""
    missing = []

    def attempt(name: str, make: Callable[[], None]) -> None:
        try:
            make()
        except Exception as error:  # one failure must not stop the other pictures
            missing.append(f"{name}: {error}")

    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sample = Sample(Path(folder))
        attempt("timeline", lambda: picture_timeline(sample, target))
        if not find_chromium():
            return [
                *missing,
                "pipeline, MLflow, report: no Chromium found (apt-get install chromium)",
            ]
        with open_browser() as browser:
            attempt("pipeline", lambda: picture_pipeline(sample, browser, target))
            attempt("MLflow", lambda: picture_mlflow(sample, browser, target))
            attempt("report", lambda: picture_report(sample, browser, target))
    return missing


def main() -> int:
    """Create the pictures; return 2 if some failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=MEDIA, help="folder of the pictures")
    missing = make_pictures(parser.parse_args().into)
    for one in missing:
        print(f"pictures: failed, keeping the earlier one: {one}", file=sys.stderr)
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
