"""Shared fixtures."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from gpt2cli.ops.threads import set_blas_threads, sleeping_threads

# A busy machine is slow, and that is no fault of a test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("busy"), max_examples=25)

# A shell starts a job in the background with the signals of the keyboard ignored, and nohup with SIGHUP. The
# commands under test would inherit that.
for number, action in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, action)

Gpt2 = Callable[..., "subprocess.CompletedProcess[bytes]"]
COMMAND = [sys.executable, "-m", "gpt2cli"]
HIDE = """
import sys
from importlib.metadata import PackageNotFoundError

class Hiding:
    @staticmethod
    def find_spec(*_):
        return None

    @staticmethod
    def find_distributions(context):
        if context.name in HIDDEN:
            raise PackageNotFoundError(context.name)
        return ()

sys.modules.update(dict.fromkeys(HIDDEN))
sys.meta_path.insert(0, Hiding)
"""
SYSTEM = "GPT2_TEST_SYSTEM"
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def run_limited(
    arguments: Sequence[str], environment: Mapping[str, str], limit: Callable[[], object]
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a process that `limit` is called in first."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )


def obey_permissions() -> None:
    """Have this process refused what a folder forbids, even as root."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer random examples in the fast tier, of the same kinds: each run draws others."""
    settings.load_profile("fast" if "not slow" in config.option.markexpr else "busy")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for no garbage while thousands of tests and large libraries come into memory to stay.

    With these comes OpenMP, whose threads take most of the time if they spin while several workers compute.
    """
    gc.disable()
    with sleeping_threads():
        return (yield)


def pytest_collection_finish() -> None:
    """Search for it from now on, but among newer objects alone."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of whole systems unless they are asked for."""
    if os.environ.get(SYSTEM) == "1":
        return
    for item in items:
        if item.get_closest_marker("system"):
            item.add_marker(pytest.mark.skip(reason=f"{SYSTEM}=1 is not set"))


@pytest.fixture(scope="session", autouse=True)
def assets_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have weights that this process converts kept elsewhere than the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ASSETS_CACHE", str(tmp_path_factory.mktemp("assets")))
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread_of_blas() -> None:
    """Undo what a backend of another module asked for: threads that spin while several workers compute."""
    set_blas_threads(1)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which nothing of the user's is seen: no cache, no settings, no network."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("GPT2_", "HF_", "XDG_"))
    }
    return kept | {
        "HF_HOME": str(tmp_path / "hf-home"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_COLOR": "",
        "COLUMNS": "100",
    }


@pytest.fixture
def gpt2(environment: dict[str, str]) -> Gpt2:
    """Return a function that runs the command line as a user's shell would, with pipes."""

    def run(
        *arguments: str | Path, stdin: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=environment | dict(env or {}),
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def without_kernels(tmp_path: Path) -> dict[str, str]:
    """Return variables with which a command finds no compiled kernels, as where there was no compiler."""
    return hidden(tmp_path / "no-kernels", "gpt2cli.ops.kernels")


def hidden(folder: Path, *modules: str, then: str = "") -> dict[str, str]:
    """Return variables with which a command finds neither these modules nor packages of their names.

    The folder is made; the code `then` runs before the command does.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"HIDDEN = {modules!r}\n{HIDE}{then}")
    # A command must find the package that is tested before any that is installed.
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[1])])}


@pytest.fixture
def passes(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the list in which each forward pass leaves its (batch, time)."""
    seen: list[tuple[int, int]] = []
    embed = model.ops.embed

    def counted(tokens: Any, positions: Any, ids: Any, places: Any) -> Any:
        seen.append(tuple(ids.shape))
        return embed(tokens, positions, ids, places)

    monkeypatch.setattr(model.ops, "embed", counted)
    return seen
