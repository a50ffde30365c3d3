"""Choosing a device, a backend and a dtype."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from backends import CPU_DEFAULT, needs_cuda, needs_kernels

from gpt2cli.errors import Error, UsageError
from gpt2cli.ops import backend, torch_ops
from gpt2cli.ops.backend import compute_threads, instruction_set, open_backend

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any import of torch's operations fail the test."""

    def fail(user: str) -> None:
        raise AssertionError("torch was imported")

    monkeypatch.setattr(backend, "_import_torch_ops", fail)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a file that says there is a driver, once it exists."""
    file = tmp_path / "nvidiactl"
    monkeypatch.setattr(backend, "DRIVER_FILES", (str(file),))
    return file


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package be as it is where there was no compiler."""
    monkeypatch.setitem(sys.modules, "gpt2cli.ops.kernels", None)


ON_THE_CPU = [{}, {"device": "cpu"}, {"dtype": "float32"}]


@needs_kernels
@pytest.mark.usefixtures("no_torch", "driver")
@pytest.mark.parametrize(
    "arguments", [*ON_THE_CPU, {"backend": "compiled"}, {"backend": "compiled", "device": "cpu"}]
)
def test_the_kernels_compute_on_the_cpu_without_torch(arguments: dict[str, Any]) -> None:
    ops = open_backend(**arguments)
    assert (ops.name, ops.device_name, ops.dtype_name) == ("compiled", "cpu", "float32")
    assert ops.storage is None


@needs_kernels
@pytest.mark.usefixtures("no_torch", "driver")
@pytest.mark.parametrize("backend", ["auto", "compiled"])
@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize(
    ("choice", "name"),
    [({"dtype": "float16"}, "float16"), ({"dtype": "bfloat16"}, "bfloat16"), ({"quantize": "int8"}, "int8")],
    ids=str,
)
def test_the_kernels_compute_on_small_weights(
    backend: str, device: str, choice: dict[str, Any], name: str
) -> None:
    ops = open_backend(device, backend, **choice)
    assert (ops.name, ops.device_name, ops.dtype_name, ops.storage) == ("compiled", "cpu", name, name)


@pytest.mark.usefixtures("no_torch", "driver", "no_kernels")
@pytest.mark.parametrize("arguments", ON_THE_CPU)
def test_numpy_computes_where_there_are_no_kernels(arguments: dict[str, Any]) -> None:
    ops = open_backend(**arguments)
    assert (ops.name, ops.device_name, ops.dtype_name) == ("numpy", "cpu", "float32")


@pytest.mark.usefixtures("no_torch", "driver")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_numpy_computes_on_the_cpu_if_asked_for(device: str) -> None:
    ops = open_backend(device, "numpy")
    assert (ops.name, ops.device_name, ops.dtype_name) == ("numpy", "cpu", "float32")


@pytest.mark.usefixtures("driver", "no_kernels")
@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_torch_computes_in_short_numbers_where_there_are_no_kernels(device: str, dtype: str) -> None:
    ops = open_backend(device, dtype=dtype)
    assert (ops.name, ops.device_name, ops.dtype_name) == ("torch", "cpu", dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_torch_computes_in_short_numbers_on_the_cpu_if_asked_for(dtype: str) -> None:
    ops = open_backend("cpu", "torch", dtype)
    assert (ops.name, ops.device_name, ops.dtype_name, ops.storage) == ("torch", "cpu", dtype, None)


@pytest.mark.usefixtures("no_torch", "driver", "no_kernels")
@pytest.mark.parametrize("arguments", [{"backend": "compiled"}, {"quantize": "int8"}])
def test_kernels_that_are_asked_for_must_be_there(arguments: dict[str, Any]) -> None:
    with pytest.raises(Error, match="was installed without its compiled kernels") as caught:
        open_backend(**arguments)
    assert caught.value.exit_code == 1
    assert "`backend` numpy" in caught.value.hint


@needs_kernels
def test_the_threads_asked_for_are_those_of_the_kernels() -> None:
    for count in (2, 1):
        assert compute_threads(open_backend("cpu", "compiled", threads=count)) == count


def test_the_threads_of_other_backends_are_told_too() -> None:
    assert compute_threads(open_backend("cpu", "numpy", threads=1)) in (1, None)
    assert compute_threads(open_backend("cpu", "torch", threads=1)) == 1


@needs_kernels
def test_the_instruction_set_is_one_that_the_kernels_know() -> None:
    assert instruction_set() in ("amx", "avx512", "avxvnni", "avx2", "i8mm", "dotprod", "generic")


@pytest.mark.usefixtures("no_kernels")
def test_without_kernels_there_is_no_instruction_set() -> None:
    assert instruction_set() is None


def test_torch_computes_on_the_cpu_if_asked_for() -> None:
    ops = open_backend("cpu", "torch")
    assert (ops.name, ops.device_name, ops.dtype_name) == ("torch", "cpu", "float32")


@without_cuda
def test_a_driver_without_a_usable_gpu_leaves_the_cpu(driver: Path) -> None:
    driver.touch()
    assert open_backend().name == CPU_DEFAULT


@pytest.fixture
def torch_uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package be as it is where PyTorch was not installed with it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "gpt2cli.ops.torch_ops", raising=False)


@pytest.mark.usefixtures("torch_uninstalled")
def test_a_gpu_without_pytorch_is_left_unused_and_that_is_said(driver: Path) -> None:
    assert open_backend().unused_gpu == ""
    driver.touch()
    ops = open_backend()
    assert (ops.name, ops.device_name) == (CPU_DEFAULT, "cpu")
    assert ops.unused_gpu.endswith("pip install 'gpt2cli[torch]'")


@pytest.mark.usefixtures("torch_uninstalled")
@pytest.mark.parametrize("arguments", [{"device": "cpu"}, {"backend": "numpy"}])
def test_a_gpu_that_was_not_wanted_is_not_spoken_of(driver: Path, arguments: dict[str, Any]) -> None:
    driver.touch()
    assert open_backend(**arguments).unused_gpu == ""


@without_cuda
def test_a_gpu_that_pytorch_cannot_use_needs_no_installation(driver: Path) -> None:
    driver.touch()
    assert open_backend().unused_gpu == ""


@pytest.mark.usefixtures("torch_uninstalled", "driver", "no_kernels")
@pytest.mark.parametrize(
    ("arguments", "user"),
    [
        ({"backend": "torch"}, "The torch backend"),
        ({"device": "cpu", "dtype": "float16"}, "The torch backend"),
        ({"device": "cuda"}, "The device cuda"),
        ({"device": "cuda:1"}, "The device cuda:1"),
        ({"device": "mps"}, "The device mps"),
    ],
)
def test_what_only_pytorch_computes_says_how_to_install_it(arguments: dict[str, Any], user: str) -> None:
    with pytest.raises(Error) as caught:
        open_backend(**arguments)
    assert caught.value.message == f"{user} needs PyTorch, which is not installed."
    assert caught.value.hint == "Install it: pip install 'gpt2cli[torch]'"


@pytest.mark.usefixtures("no_torch")
def test_numpy_is_used_beside_a_gpu_if_asked_for(driver: Path) -> None:
    driver.touch()
    assert open_backend(backend="numpy").name == "numpy"


def test_a_gpu_is_used_where_there_is_one(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.touch()
    asked: list[str] = []
    monkeypatch.setattr(torch_ops, "cuda_is_usable", lambda: True)
    monkeypatch.setattr(torch_ops, "require_device", asked.append)
    ops = open_backend()
    assert (ops.name, ops.device_name, ops.dtype_name) == ("torch", "cuda", "float32")
    assert asked == ["cuda"]


@pytest.mark.parametrize("able", [True, False])
def test_a_gpu_decodes_in_16_bits_if_it_can_and_scores_in_32(
    monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(torch_ops, "require_device", lambda _: None)
    monkeypatch.setattr(torch_ops, "computes_in_bfloat16", lambda _: able)
    wanted = {(True, "auto"): "bfloat16" if able else "float32"}
    for for_decoding in (True, False):
        for dtype in ("auto", "float32"):
            ops = open_backend("cuda", dtype=dtype, for_decoding=for_decoding)
            assert ops.dtype_name == wanted.get((for_decoding, dtype), "float32")
            assert ops.decodes_ahead


def test_a_cpu_decodes_in_32_bits_and_ahead_only_if_that_is_compiled() -> None:
    assert not open_backend("cpu", "torch", for_decoding=True).decodes_ahead
    ops = open_backend("cpu", "torch", compiled=True, for_decoding=True)
    assert (ops.dtype_name, ops.decodes_ahead) == ("float32", True)


@pytest.mark.cuda
@needs_cuda
def test_a_real_gpu_is_the_default() -> None:
    ops = open_backend()
    assert (ops.name, ops.device_name, ops.dtype_name) == ("torch", "cuda", "float32")


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"device": "gpu"}, "'gpu' is not a device"),
        ({"device": "cuda:"}, "'cuda:' is not a device"),
        ({"device": "cuda:-1"}, "'cuda:-1' is not a device"),
        ({"device": "CUDA"}, "'CUDA' is not a device"),
        ({"device": ""}, "'' is not a device"),
        ({"device": "x" * 5000}, f"'{'x' * 79}... is not a device"),
        ({"backend": "x" * 5000}, f"'{'x' * 79}... is not a backend"),
        ({"backend": "jax"}, "'jax' is not a backend"),
        ({"dtype": "int8"}, "'int8' is not a dtype"),
        ({"threads": 0}, "0 is not a number of threads"),
        ({"backend": "numpy", "device": "cuda"}, "numpy cannot compute on cuda"),
        ({"backend": "numpy", "device": "mps"}, "numpy cannot compute on mps"),
        ({"backend": "numpy", "dtype": "float16"}, "numpy cannot compute in float16"),
        ({"backend": "compiled", "device": "cuda"}, "compiled cannot compute on cuda"),
        ({"quantize": "int4"}, "'int4' is not a quantization"),
        ({"quantize": "int8", "dtype": "float32"}, "`quantize` int8 excludes `dtype`"),
        ({"quantize": "int8", "backend": "numpy"}, "numpy cannot compute in int8"),
        ({"quantize": "int8", "backend": "torch"}, "torch cannot compute in int8"),
        ({"quantize": "int8", "device": "cuda"}, "`quantize` int8 works only on a CPU"),
        ({"quantize": "int8", "device": "cuda:1"}, "`quantize` int8 works only on a CPU"),
        ({"compiled": True}, "`compile` needs PyTorch to compute"),
        ({"compiled": True, "backend": "numpy"}, "`compile` has no effect on the numpy backend"),
        ({"compiled": True, "device": "mps"}, "`compile` has no effect on mps"),
        ({"compiled": True, "backend": "compiled"}, "`compile` has no effect on the compiled backend"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_backend(**arguments)
    assert complaint in caught.value.message
    assert caught.value.hint


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_an_absent_gpu_is_an_error_with_its_reason(device: str) -> None:
    with pytest.raises(Error, match=f"No {device.upper()} device is usable here: ") as caught:
        open_backend(device)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


@pytest.mark.cuda
@needs_cuda
def test_an_ordinal_beyond_the_gpus_is_an_error() -> None:
    with pytest.raises(Error, match=r"No CUDA:77 device is usable here: .*invalid device ordinal"):
        open_backend("cuda:77")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an MPS device")
def test_an_absent_mps_is_an_error() -> None:
    with pytest.raises(Error, match="No MPS device is usable here: "):
        open_backend("mps")


BROKEN_TORCH = """
import sys
from gpt2cli.ops.backend import open_backend
from gpt2cli.errors import Error
try:
    open_backend("cpu", "torch")
except Error as error:
    print(type(error).__name__, error)
print(open_backend().name)
"""


def test_a_torch_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: cannot open\\nshared object')")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_TORCH],
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "Error The torch backend needs PyTorch, which cannot be imported: "
        "libtorch.so: cannot open shared object. Install it again: pip install 'gpt2cli[torch]'",
        CPU_DEFAULT,
    ]
