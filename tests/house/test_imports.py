"""Import rules: start-up loads nothing heavy, and the library does not depend on the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import typer
from checkpoints import save_model_folder
from module_facts import MODULES, PACKAGE, facts

from gpt2cli.cli.app import app
from gpt2cli.cli.command_table import COMMANDS, module_of

LIBRARY = [name for name in MODULES if not name.startswith(("gpt2cli.cli", "gpt2cli.__main__"))]
HEAVY = {"torch", "transformers", "numpy", "tokenizers", "huggingface_hub"}
USES_TORCH = {
    f"gpt2cli.{name}"
    for name in (
        "checkpoint.formats.pickle_file",
        "ops.torch_ops",
        *(
            f"ops.device.{module}"
            for module in ("activations", "choice", "graphs", "slot_attention", "transfer")
        ),
        "model.decode_step",
        "generation.ahead",
        "benchmark.peers.transformers_worker",
        *(f"training.step.{module}" for module in ("data_parallel", "lora", "muon", "optimizers", "trainer")),
        *(f"training.run.{module}" for module in ("beginning", "evaluation", "state", "training_run")),
    )
}
# Each may import only from itself and from those before it.
ROOMS = (
    *("errors", "ops", "checkpoint", "hub", "text", "model", "generation", "scoring", "training"),
    *("inspection", "serving", "benchmark", "data", "cli"),
)
# What stands beside the rooms: it reaches all of them, and none but the last may reach it.
FRONT_DOOR = {"gpt2cli", "gpt2cli.__main__", "gpt2cli.language_model", "gpt2cli.local_model"}
LONGEST_MODULE = 300
LONGEST_DECODER = 120
FULLEST_FOLDER = 14

RUN = """
import atexit, sys
from gpt2cli.__main__ import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv[0] = "gpt2"
main()
"""

# Writes what is in memory after each line.
HELP = """
import sys
from gpt2cli.cli.app import app
for line in sys.argv[1:]:
    app(line.split(), prog_name="gpt2", standalone_mode=False)
    print(*sys.modules, file=sys.stderr)
"""


def command_lines(command: Any, words: Sequence[str] = ()) -> Iterator[list[str]]:
    """Yield the words of a command and of all commands below it."""
    yield list(words)
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_lines(inner, [*words, name])


def loaded_by(arguments: Sequence[str], environment: dict[str, str]) -> set[str]:
    """Return the modules in memory at the end of a command that succeeds."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def imports(name: str, anywhere: bool = True) -> frozenset[str]:
    """Return the names of the modules that a module imports at run time, in functions too if anywhere."""
    found = facts(MODULES[name])
    return found.anywhere if anywhere else found.at_once


def packages(names: AbstractSet[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.slow
def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    lines = [" ".join([*words, "--help"]) for words in command_lines(typer.main.get_command(app))]
    done = subprocess.run(
        [sys.executable, "-c", HELP, *lines], env=environment, capture_output=True, text=True, check=True
    )
    loaded = dict(zip(lines, map(str.split, done.stderr.splitlines()), strict=True))
    assert not {line: heavy for line, names in loaded.items() if (heavy := HEAVY.intersection(names))}


def test_a_command_loads_no_other() -> None:
    code = (
        "import sys; from gpt2cli.cli.app import app; app(['rank', '--help'], standalone_mode=False); "
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {name for name in COMMANDS if module_of(name) in loaded} == {"rank"}


@pytest.mark.parametrize(
    "arguments",
    [["tokenize", "--text", "Once"], ["info"]],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_computes_nothing_runs_without_torch(
    environment: dict[str, str], arguments: list[str]
) -> None:
    assert not {"torch", "transformers", "huggingface_hub"} & loaded_by(arguments, environment)


def test_a_few_tokens_after_a_short_prompt_load_nothing_that_they_do_not_need(
    environment: dict[str, str], tmp_path: Path
) -> None:
    save_model_folder(tmp_path, vocab_size=300)
    arguments = ["generate", "-m", str(tmp_path), "-n", "2", "--device", "cpu", "Once upon a time"]
    loaded = loaded_by(arguments, environment)
    assert "numpy" in loaded
    assert not {"torch", "transformers"} & loaded
    assert not {"tokenizers", "numpy.random", "pydantic", "rich", "huggingface_hub", "secrets"} & loaded
    # What looks inside.
    assert not {"gpt2cli.inspection", "gpt2cli.model.watcher"} & loaded
    # What only a terminal gets.
    assert not {"unicodedata", "gpt2cli.text.cells", "gpt2cli.cli.output.terminal"} & loaded


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys; before = set(sys.modules); import gpt2cli; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gpt2cli"]


def test_the_library_knows_nothing_of_the_command_line() -> None:
    for name in LIBRARY:
        found = imports(name)
        assert not packages(found) & {"typer", "rich"}, name
        assert not any(module.startswith("gpt2cli.cli") for module in found), name


def test_few_modules_import_torch_and_no_other_loads_them_at_once() -> None:
    for name in MODULES.keys() - USES_TORCH:
        assert "torch" not in packages(imports(name)), name
        assert not USES_TORCH & imports(name, anywhere=False), name


def test_a_command_loads_at_once_only_what_is_light() -> None:
    own = {"gpt2cli", *sys.stdlib_module_names, "typer"}
    for name in MODULES:
        if name.startswith("gpt2cli.cli."):
            assert packages(imports(name, anywhere=False)) <= own, name


def test_a_room_imports_only_from_rooms_above_it() -> None:
    for name in MODULES.keys() - FRONT_DOOR:
        above = ROOMS[: ROOMS.index(room(name)) + 1]
        for module in imports(name) & MODULES.keys() - {"gpt2cli"}:
            assert room(module) in above or (room(name) == "cli" and module in FRONT_DOOR), (name, module)


def test_only_the_version_comes_through_the_front_door() -> None:
    for name in LIBRARY:
        assert names_from_the_package(name) <= {"__version__"}, name


def room(module: str) -> str:
    """Return the room that a module stands in."""
    return module.split(".")[1]


def names_from_the_package(name: str) -> set[str]:
    """Return the names, other than those of modules, that a module imports from the package itself."""
    return {alias for alias in facts(MODULES[name]).from_the_package if f"gpt2cli.{alias}" not in MODULES}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: (imports(name) & MODULES.keys()) - {"gpt2cli"} for name in MODULES}
    TopologicalSorter(graph).prepare()


def test_a_module_is_short_enough_to_read() -> None:
    for name, path in MODULES.items():
        assert len(path.read_text().splitlines()) < LONGEST_MODULE, name


def test_the_decoder_reads_like_a_paper() -> None:
    assert len(MODULES["gpt2cli.model.decoder"].read_text().splitlines()) <= LONGEST_DECODER


def test_a_folder_is_small_enough_to_survey() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    for folder in sorted(folders):
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".so"]
        assert len(files) <= FULLEST_FOLDER, folder
