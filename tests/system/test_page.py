"""The page of `gpt2 serve` in Chromium, in both themes.

Screenshots are kept where GPT2_TEST_SHOTS names a folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]
TEXT = "Once upon a time, the café 🙂 was open.\nAlice said"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [*COMMAND, "serve", "-m", "stories", "--port", "0", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright")
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, url: str) -> Iterator[Any]:
    """Yield the page in a theme; it must not have said anything to the console in the end."""
    opened = browser.new_context(color_scheme=request.param).new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(url)
    yield opened
    if folder := os.environ.get("GPT2_TEST_SHOTS"):
        opened.screenshot(path=Path(folder) / f"{request.node.name}.png")
    opened.context.close()
    # Chromium itself tells of every status of 400 or more.
    assert not [text for text in said if "status of 400" not in text]


def expect(found: Any) -> Any:
    return import_module("playwright.sync_api").expect(found)


def write(page: Any, text: str = TEXT) -> None:
    """Type a text and have it continued."""
    page.fill("#prompt", text)
    page.fill("#seed", "7")
    page.press("#prompt", "Control+Enter")
    expect(page.locator("#status")).to_contain_text("60 new tokens", timeout=60_000)


def shown(page: Any) -> str:
    """Return the text of all tokens, without the marks of line ends and of parts of characters."""
    return str(page.locator("#text").inner_text()).replace("↵", "").replace("·", "")


def test_a_text_is_continued_and_shaded_token_by_token(page: Any) -> None:
    write(page)
    assert shown(page).startswith(TEXT)
    tokens = page.locator(".token")
    assert tokens.count() > 70
    assert "not scored" in tokens.first.get_attribute("aria-label")
    assert "bits" in tokens.last.get_attribute("aria-label")
    shades = tokens.evaluate_all("all => new Set(all.map(one => getComputedStyle(one).backgroundColor)).size")
    assert shades > 20
    page.uncheck("#shade")
    expect(page.locator("#text")).not_to_have_class("shaded")


def test_another_token_is_continued_from(page: Any) -> None:
    write(page)
    before = shown(page)
    page.locator(".token.made").nth(3).click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("[aria-current=true]")).to_have_count(1)
    other = dialog.locator(".choice:not([aria-current])").first
    name = other.locator(".name").inner_text().replace("␣", " ")
    other.click()
    expect(page.locator("#status")).to_contain_text("60 new tokens", timeout=60_000)
    picked = page.locator(".token.picked")
    expect(picked).to_have_count(1)
    assert picked.inner_text() == name
    after = shown(page)
    assert after != before
    assert after.startswith(TEXT)


def test_everything_can_be_done_with_the_keyboard(page: Any) -> None:
    write(page)
    page.locator(".token[tabindex='0']").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    # The place is not lost, and only one token is on the way of Tab.
    expect(page.locator(".token:focus")).to_have_count(1)
    expect(page.locator(".token[tabindex='0']")).to_have_count(1)


def test_markup_in_a_text_is_text(page: Any) -> None:
    text = "<b>bold</b><script>document.title='broken'</script><img src=x onerror=alert(1)>"
    write(page, text)
    assert shown(page).startswith(text)
    assert page.title() == "stories"
    assert page.locator("#text b, #text img, #text script").count() == 0


def test_what_is_refused_is_said(page: Any) -> None:
    page.fill("#prompt", "word " * 600)
    page.click("#go")
    expect(page.get_by_role("alert")).to_contain_text("the model's context holds 512", timeout=60_000)


def test_what_is_edited_as_text_is_the_whole_text(page: Any) -> None:
    write(page)
    whole = shown(page)
    page.click("#edit")
    assert page.input_value("#prompt") == whole
    expect(page.locator(".token")).to_have_count(0)
