"""README's examples: run again, compared, and written anew by `python tests/readme.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
PROMPT = "$ "


def regenerated(text: str) -> str:
    """Return the text with the output of every command in its console blocks made anew."""
    return BLOCK.sub(lambda block: "".join(map(_run, commands(block[0]))), text)


def commands(block: str) -> list[str]:
    """Return the commands of a console block, in their order."""
    return [line.removeprefix(PROMPT) for line in block.splitlines() if line.startswith(PROMPT)]


def _run(command: str) -> str:
    # As in a fresh account: only the bundled model is here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GPT2_", "HF_"))}
    environment |= {"HF_HOME": os.devnull, "HF_HUB_OFFLINE": "1", "PYTHON": sys.executable}
    result = subprocess.run(
        ["bash", "-c", f'gpt2() {{ "$PYTHON" -m gpt2cli "$@"; }}; {command}'],
        cwd=README.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return f"{PROMPT}{command}\n{result.stdout}"


if __name__ == "__main__":
    README.write_text(regenerated(README.read_text()))
