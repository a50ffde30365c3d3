"""The pages that look inside a model, in a browser."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from inspected_models import saved

from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.inspection.attention import Attention
from gpt2cli.inspection.pictures.attention import overview
from gpt2cli.inspection.pictures.grid import COLUMNS
from gpt2cli.inspection.pictures.rendering import html_page
from gpt2cli.inspection.pictures.trace_page import trace_page
from gpt2cli.inspection.settings import PassageSettings
from gpt2cli.inspection.trace import trace_sampling

pytestmark = pytest.mark.system

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium or Chrome")
HOSTILE = "</script><script>document.title='taken'</script>"
CLICK = "<script>document.getElementById('on').click()</script>"


class Shown(HTMLParser):
    """Collect the texts of elements by their ids, the cells of the table, and the title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.cells: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "input", "hr", "th"):
            return
        self._open.append(dict(attrs).get("id") or tag)
        if tag == "tr":
            self.cells.append([])
        if tag == "td":
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for name in set(self._open):
            self.texts[name] = self.texts.get(name, "") + data
        if "td" in self._open:
            self.cells[-1][-1] += data


def in_browser(page: bytes, folder: Path) -> str:
    file = folder / "page.html"
    file.write_bytes(page)
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--dump-dom"]
    command = [str(BROWSER), *arguments, file.as_uri()]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()


@needs_browser
@pytest.mark.parametrize("clicks", [0, 2])
def test_a_browser_steps_through_a_trace(tmp_path: Path, clicks: int) -> None:
    settings = CompletionSettings(max_tokens=4, seed=1, top_k=7, truncate="left", ignore_eos=True)
    run = saved("gpt2").load().continuation(HOSTILE, settings)
    trace = trace_sampling(run)
    run.results()
    shown = Shown(in_browser(trace_page(trace.steps, HOSTILE, "title") + CLICK.encode() * clicks, tmp_path))
    step = trace.steps[clicks]
    assert shown.texts["title"] == "title"
    assert shown.texts["text"].startswith(HOSTILE)
    assert f"step {clicks + 1} of 4" in shown.texts["where"]
    assert "After top-k, 7 tokens" in shown.texts["said"]
    rows = [row for row in shown.cells if row]
    assert [int(row[0]) for row in rows] == [token.rank for token in step.tokens]
    assert [row[-1] for row in rows] == [
        {None: "", "top_k": "top-k", "top_p": "top-p"}[token.cut] for token in step.tokens
    ]


@needs_browser
def test_a_browser_shows_every_head(tmp_path: Path) -> None:
    attention = Attention(saved("gpt2").load(), "one two three four", PassageSettings())
    page = in_browser(html_page(overview(attention, HOSTILE, COLUMNS)), tmp_path)
    assert page.count("<image ") == 12
    assert Shown(page).texts["title"].startswith(HOSTILE)
