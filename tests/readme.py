"""The examples in README and docs: run, compared, and rewritten by `python tests/readme.py`.

So are the tree of modules in docs/architecture.md and the table of families in docs/models.md.

The examples of a document run in order in an empty folder, which they share. A fenced block says what it is:

- `console`: commands after `$ ` and what they print; `console error` commands that fail, with stderr.
- `python`: run after all console blocks, in one process; a `text` block right below shows the output.
  `python no-run` is not run.
- any language followed by a file's name: written to that file before the next command runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt2cli.checkpoint.architectures import ARCHITECTURES
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.traits import architecture_traits

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
DOCUMENTS = (README, *sorted(DOCS.glob("*.md")))
BLOCK = re.compile(r"^```(?P<language>\w+) ?(?P<mark>\S*)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
TREE = re.compile(r"(?<=^```\n)gpt2cli/\n.*?(?=^```$)", re.MULTILINE | re.DOTALL)
TRAITS = re.compile(r"^\| family \|.*?(?=^$)", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
FUNCTIONS = 'gpt2() { "$PYTHON" -m gpt2cli "$@"; }; python() { "$PYTHON" "$@"; }; '
# Reads blocks as a JSON list and writes what each prints as another.
RUN_PYTHON = """
import contextlib, io, json, sys
names, printed = {"__name__": "__main__"}, []
for block in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(block, "<example>", "exec"), names)
    printed.append(output.getvalue())
json.dump(printed, sys.stdout)
"""


def regenerated(text: str, folder: Path) -> str:
    """Return a document with the output of all its examples made anew, by running them in a folder."""
    blocks = list(BLOCK.finditer(text))
    contents = [block["content"] for block in blocks]
    for number, block in enumerate(blocks):
        if "." in block["mark"]:
            (folder / block["mark"]).write_text(block["content"])
        elif block["language"] == "console":
            fails = block["mark"] == "error"
            contents[number] = "".join(_run(command, folder, fails) for command in commands(block["content"]))
    runnable = [number for number, block in enumerate(blocks) if is_runnable(block)]
    printed = _run_python([contents[number] for number in runnable], folder)
    for number, output in zip(runnable, printed, strict=True):
        if _shows_output(text, blocks[number : number + 2]):
            contents[number + 1] = output.removesuffix("\n") + "\n"
    return _replaced(text, blocks, contents)


def is_runnable(block: re.Match[str]) -> bool:
    """Return whether a block is Python that runs as it stands."""
    return block["language"] == "python" and not block["mark"]


def commands(block: str) -> Iterator[str]:
    """Yield the commands of a console block; a line that ends in a backslash continues on the next."""
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith(PROMPT):
            command = line.removeprefix(PROMPT)
            while command.endswith("\\"):
                command += "\n" + next(lines)
            yield command


def pictures(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the pictures that examples drew in a folder, each with its place in docs."""
    for drawn in sorted(folder.glob("*.svg")):
        if (DOCS / drawn.name).exists():
            yield drawn, DOCS / drawn.name


def tree() -> str:
    """Return the listing of the package's modules in docs/architecture.md, folder by folder."""
    return "gpt2cli/\n" + "".join(_listing(ROOT / "gpt2cli", "    "))


def traits() -> str:
    """Return the table of what each family changes in docs/models.md, from the rows of the families."""
    rows = []
    for architecture in ARCHITECTURES:
        found = architecture_traits(ModelConfig.from_dict({"model_type": architecture.model_type}))
        family, paper = found.pop("family"), found.pop("paper")
        rows.append({"family": family, "model_type": f"`{architecture.model_type}`", **found, "paper": paper})
    header = [name.replace("_", " ") if name != "model_type" else "`model_type`" for name in rows[0]]
    lines = [header, ["---"] * len(header), *(list(row.values()) for row in rows)]
    return "".join(
        f"| {' | '.join(line)} |\n".replace("| --- ", "|---").replace("--- |", "---|") for line in lines
    )


def _listing(folder: Path, indent: str) -> Iterator[str]:
    modules = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
    if modules:
        yield f"{indent}{' '.join(modules)}\n"
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.py"))):
        yield f"{indent}{inner.name}/\n"
        yield from _listing(inner, indent + "    ")


def _shows_output(text: str, blocks: Sequence[re.Match[str]]) -> bool:
    if len(blocks) < 2 or blocks[1]["language"] != "text":
        return False
    return not text[blocks[0].end() : blocks[1].start()].strip()


def _replaced(text: str, blocks: Sequence[re.Match[str]], contents: Sequence[str]) -> str:
    parts, position = [], 0
    for block, content in zip(blocks, contents, strict=True):
        parts += [text[position : block.start("content")], content]
        position = block.end("content")
    return "".join([*parts, text[position:]])


def run_command(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command that may use gpt2, in a folder."""
    return subprocess.run(
        ["bash", "-c", FUNCTIONS + command],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _run(command: str, folder: Path, fails: bool) -> str:
    done = run_command(command, folder)
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return f"{PROMPT}{command}\n{done.stdout}{done.stderr if fails else ''}"


def _run_python(blocks: Sequence[str], folder: Path) -> list[str]:
    if not blocks:
        return []
    done = subprocess.run(
        [sys.executable, "-c", RUN_PYTHON],
        cwd=folder,
        env=_environment(),
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    printed: list[str] = json.loads(done.stdout)
    return printed


def _environment() -> dict[str, str]:
    # As in a fresh account: only the bundled model is here.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GPT2_", "HF_"))}
    paths = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return kept | {
        "HF_HOME": os.devnull,
        "HF_HUB_OFFLINE": "1",
        "PYTHON": sys.executable,
        "PYTHONPATH": paths,
    }


def _rewrite(document: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = TRAITS.sub(traits(), regenerated(document.read_text(), folder))
        document.write_text(TREE.sub(tree(), text))
        for drawn, place in pictures(folder):
            shutil.copyfile(drawn, place)


if __name__ == "__main__":
    for document in DOCUMENTS:
        _rewrite(document)
