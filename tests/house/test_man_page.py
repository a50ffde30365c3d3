"""The man page: the file matches the app, and man accepts it."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import typer
from man_page import MAN_PAGE, man_page

from gpt2cli.cli.app import app


def test_the_file_is_what_the_app_generates() -> None:
    assert MAN_PAGE.read_text() == man_page(), "run make man"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_it_shows_every_command_and_no_stray_macro() -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", str(MAN_PAGE)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not shown.stderr
    group: Any = typer.main.get_command(app)
    for name in group.commands:
        assert f"gpt2 {name}" in shown.stdout
    assert "\\f" not in shown.stdout
