"""The kernels called from Python: from several threads, in forked processes, with invalid arguments."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import kernel_arrays as own
import numpy as np
import pytest
from kernel_arrays import Array, kernels, random, running

MOST_THREADS = 256

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with running():
        yield


# --- threads


def test_the_number_of_threads_is_clamped_to_what_the_pool_can_hold() -> None:
    assert [kernels.set_threads(count) for count in (0, -1, -(2**32) + 5, 1, 3)] == [1, 1, 1, 1, 3]
    assert kernels.threads() == 3
    try:
        assert kernels.set_threads(10**6) == kernels.threads() <= MOST_THREADS
    finally:
        kernels.set_threads(1)


def test_the_number_of_threads_may_change_before_every_call() -> None:
    x, weight, bias = random(5, 300), random(300, 400), random(400)
    expected = own.linear(x, weight, "float32", bias)
    for count in np.random.default_rng(0).integers(1, 9, 300):
        assert kernels.set_threads(int(count)) == count
        np.testing.assert_array_equal(own.linear(x, weight, "float32", bias), expected)


def test_threads_of_python_may_all_call_at_once() -> None:
    def call(seed: int) -> None:
        x, weight, bias = random(13, 200, seed=seed), random(200, 300, seed=seed), random(300, seed=seed)
        expected = own.linear(x, weight, "float32", bias)
        for turn in range(100):
            if turn % 10 == seed:
                kernels.set_threads(turn % 4 + 1)
            if (own.linear(x, weight, "float32", bias) != expected).any():
                wrong.append(seed)

    wrong: list[int] = []
    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_other_threads_of_python_run_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, is_over = 0, False

    def count() -> None:
        nonlocal turns
        while not is_over:
            turns += 1
            # It gives way at once, for Python itself takes no thread's turn in the next minutes.
            time.sleep(0)

    x, weight, bias = random(64, 512), random(512, 512), random(512)
    out = own.filled(64, 512)
    before = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    counter.start()
    try:
        sys.setswitchinterval(1000)
        start = turns
        for _ in range(2000):
            kernels.linear(x, weight, 0, bias, 0, None, None, out)
            if turns > start + 3:
                break
        counted = turns - start
    finally:
        sys.setswitchinterval(before)
        is_over = True
        counter.join()
    assert counted > 3


# --- forks

FORKED = """
import os, signal, sys, threading
import kernel_arrays as own
from kernel_arrays import kernels, random

x, weight, bias = random(5, 300), random(300, 400), random(400)
compute = lambda: own.linear(x, weight, "float32", bias).tobytes()
expected = compute()

def in_child():
    # A child that waits for threads that it does not have ends here.
    signal.alarm(20)
    if kernels.threads() != 1 or compute() != expected:
        return 1
    return not (kernels.set_threads(3) == 3 and compute() == expected)

def fork():
    child = os.fork()
    if child == 0:
        os._exit(in_child())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(code: str) -> None:
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED + code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


@needs_fork
def test_a_forked_process_computes_with_threads_of_its_own() -> None:
    run("""
kernels.set_threads(4)
compute()
assert fork() == 0
assert kernels.threads() == 4 and compute() == expected
print("fine")
""")


@pytest.mark.slow
@needs_fork
def test_a_process_may_fork_while_a_thread_of_it_computes() -> None:
    run("""
kernels.set_threads(4)
is_over = False
def work():
    while not is_over:
        assert compute() == expected
worker = threading.Thread(target=work)
worker.start()
try:
    assert [fork() for _ in range(25)] == [0] * 25
finally:
    is_over = True
    worker.join()
print("fine")
""")


# --- arguments that do not fit


def zeros(*shape: int, dtype: Any = np.float32) -> Array:
    return np.zeros(shape, dtype)


def read_only(*shape: int) -> Array:
    array = zeros(*shape)
    array.flags.writeable = False
    return array


def unaligned(*shape: int) -> Array:
    count = int(np.prod(shape))
    return np.zeros(4 * count + 1, np.uint8)[1:].view(np.float32).reshape(shape)


def apart(*shape: int) -> Array:
    """Return floats that are 5 bytes apart."""
    return np.zeros(shape, np.dtype([("number", "f4"), ("rest", "u1")]))["number"]


def nothing_of_bytes(*shape: int) -> Array:
    return zeros(*shape, dtype=np.dtype("V0"))


HALF, DOUBLE, BYTE = np.float16, np.float64, np.uint8
X, WEIGHT, BIAS, OUT = zeros(2, 4), zeros(4, 3), zeros(3), zeros(2, 3)
PANELS, SCALES = zeros(1, 1, 32, 4, dtype=BYTE), zeros(32)
WIDTH = kernels.panel_columns()
FLOATS = zeros(1, 4, WIDTH)
IDS, TABLE = zeros(4, dtype=np.int64), zeros(4, 4, dtype=DOUBLE)
QKV, K, ATTENDED = zeros(1, 3, 6, 4), zeros(2, 5, 4), zeros(1, 3, 8)
SPANS = np.array([[0, 2, 3, 0]])
Q, TURNS = zeros(1, 3, 2, 4), zeros(3, 2)
REFUSED: dict[str, tuple[Callable[..., None], tuple[Any, ...], type[Exception]]] = {
    "linear, too few": (kernels.linear, (X, WEIGHT, 0, BIAS), TypeError),
    "linear, too many": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, None, None, OUT, OUT), TypeError),
    "linear, no array": (kernels.linear, (None, WEIGHT, 0, BIAS, 0, None, None, OUT), TypeError),
    "linear, a list": (kernels.linear, (X, [[1.0]], 0, BIAS, 0, None, None, OUT), TypeError),
    "linear, type by name": (kernels.linear, (X, WEIGHT, "f", BIAS, 0, None, None, OUT), TypeError),
    "linear, type -1": (kernels.linear, (X, WEIGHT, -1, BIAS, 0, None, None, OUT), ValueError),
    "linear, type 3": (kernels.linear, (X, WEIGHT, 3, BIAS, 0, None, None, OUT), ValueError),
    "linear, type 2**40": (kernels.linear, (X, WEIGHT, 1 << 40, BIAS, 0, None, None, OUT), ValueError),
    "linear, type 2**80": (kernels.linear, (X, WEIGHT, 1 << 80, BIAS, 0, None, None, OUT), OverflowError),
    "linear, x of doubles": (
        kernels.linear,
        (zeros(2, 4, dtype=DOUBLE), WEIGHT, 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, x of halves": (
        kernels.linear,
        (zeros(2, 4, dtype=HALF), WEIGHT, 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, halves said to be floats": (
        kernels.linear,
        (X, zeros(4, 3, dtype=HALF), 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, floats said to be halves": (
        kernels.linear,
        (X, WEIGHT, 1, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, no sizes": (
        kernels.linear,
        (nothing_of_bytes(2, 4), WEIGHT, 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, flat weight": (kernels.linear, (X, zeros(12), 0, BIAS, 0, None, None, OUT), ValueError),
    "linear, long x": (kernels.linear, (zeros(9), WEIGHT, 0, BIAS, 0, None, None, OUT), ValueError),
    "linear, more rows": (kernels.linear, (zeros(3, 4), WEIGHT, 0, BIAS, 0, None, None, OUT), ValueError),
    "linear, short bias": (kernels.linear, (X, WEIGHT, 0, zeros(2), 0, None, None, OUT), ValueError),
    "linear, long out": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, None, None, zeros(2, 4)), ValueError),
    "linear, short out": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, None, None, zeros(5)), ValueError),
    "pack, too few": (kernels.pack, (WEIGHT,), TypeError),
    "pack, a flat weight": (kernels.pack, (zeros(12), FLOATS), ValueError),
    "pack, a turned weight": (kernels.pack, (zeros(3, 4).T, FLOATS), ValueError),
    "pack, a weight of halves": (kernels.pack, (zeros(4, 3, dtype=HALF), FLOATS), ValueError),
    "pack, no depth": (kernels.pack, (zeros(0, 3), zeros(1, 0, WIDTH)), ValueError),
    "pack, flat panels": (kernels.pack, (WEIGHT, zeros(4 * WIDTH)), ValueError),
    "pack, panels to read": (kernels.pack, (WEIGHT, read_only(1, 4, WIDTH)), ValueError),
    **{
        f"{name}, panels {shape}": (function, (*before, zeros(*shape), *after), ValueError)
        for name, function, before, after in (
            ("pack", kernels.pack, (WEIGHT,), ()),
            ("linear_packed", kernels.linear_packed, (X,), (BIAS, 0, None, None, OUT)),
        )
        for shape in ((2, 4, WIDTH), (0, 4, WIDTH), (1, 5, WIDTH), (1, 4, WIDTH + 1), (1, 4, WIDTH // 2))
    },
    "linear_packed, too few": (kernels.linear_packed, (X, FLOATS, BIAS, 0, None, None), TypeError),
    "linear_packed, no panels": (kernels.linear_packed, (X, None, BIAS, 0, None, None, OUT), TypeError),
    "linear_packed, a weight": (kernels.linear_packed, (X, WEIGHT, BIAS, 0, None, None, OUT), ValueError),
    "linear_packed, more rows": (
        kernels.linear_packed,
        (zeros(3, 4), FLOATS, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear_packed, short bias": (
        kernels.linear_packed,
        (X, FLOATS, zeros(2), 0, None, None, OUT),
        ValueError,
    ),
    "linear_packed, short gate": (
        kernels.linear_packed,
        (X, FLOATS, BIAS, 0, zeros(5), None, OUT),
        ValueError,
    ),
    "linear_packed, no number": (
        kernels.linear_packed,
        (X, FLOATS, BIAS, 0, None, None, np.zeros((), np.float32)),
        ValueError,
    ),
    "linear, no depth": (kernels.linear, (zeros(2, 0), zeros(0, 3), 0, BIAS, 0, None, None, OUT), ValueError),
    "linear, out to read": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, None, None, read_only(2, 3)), ValueError),
    "linear, out of bytes": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, None, None, bytes(24)), BufferError),
    "linear, weight with gaps": (
        kernels.linear,
        (X, zeros(4, 6)[:, ::2], 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, weight turned with gaps": (
        kernels.linear,
        (X, zeros(3, 8)[:, :4].T, 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, weight backwards": (
        kernels.linear,
        (X, zeros(4, 3)[::-1], 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, weight of one number": (
        kernels.linear,
        (X, np.broadcast_to(zeros(1, 1), (4, 3)), 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, x with gaps": (
        kernels.linear,
        (zeros(2, 8)[:, ::2], WEIGHT, 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, out with gaps": (
        kernels.linear,
        (X, WEIGHT, 0, BIAS, 0, None, None, zeros(2, 6)[:, ::2]),
        ValueError,
    ),
    "linear, view with gaps": (
        kernels.linear,
        (memoryview(bytearray(64)).cast("f")[::2], WEIGHT, 0, BIAS, 0, None, None, OUT),
        BufferError,
    ),
    "linear, unaligned x": (
        kernels.linear,
        (unaligned(2, 4), WEIGHT, 0, BIAS, 0, None, None, OUT),
        ValueError,
    ),
    "linear, unaligned out": (
        kernels.linear,
        (X, WEIGHT, 0, BIAS, 0, None, None, unaligned(2, 3)),
        ValueError,
    ),
    "lm_head, too few": (kernels.lm_head, (X, zeros(3, 4), 0), TypeError),
    "lm_head, weight of linear": (kernels.lm_head, (X, zeros(4, 3), 0, OUT), ValueError),
    "lm_head, table turned": (kernels.lm_head, (X, zeros(4, 3).T, 0, OUT), ValueError),
    "lm_head, long out": (kernels.lm_head, (X, zeros(3, 4), 0, zeros(7)), ValueError),
    "int8, too few": (kernels.linear_int8, (X, PANELS, SCALES, None, None), TypeError),
    "int8, panels of floats": (
        kernels.linear_int8,
        (X, WEIGHT, SCALES, None, None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, few panels": (
        kernels.linear_int8,
        (X, PANELS[..., :2].copy(), SCALES, None, None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, few scales": (
        kernels.linear_int8,
        (X, PANELS, zeros(3), None, None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, few totals": (
        kernels.linear_int8,
        (X, PANELS, SCALES, zeros(3), None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, another depth": (
        kernels.linear_int8,
        (zeros(2, 5), PANELS, SCALES, None, None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, more columns": (
        kernels.linear_int8,
        (X, PANELS, SCALES, None, None, 0, None, None, zeros(2, 33)),
        ValueError,
    ),
    "int8, more rows": (
        kernels.linear_int8,
        (zeros(3, 4), PANELS, SCALES, None, None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, long bias": (
        kernels.linear_int8,
        (X, PANELS, SCALES, None, zeros(4), 0, None, None, OUT),
        ValueError,
    ),
    "int8, bias of doubles": (
        kernels.linear_int8,
        (X, PANELS, SCALES, None, zeros(3, dtype=DOUBLE), 0, None, None, OUT),
        ValueError,
    ),
    "int8, no axes": (
        kernels.linear_int8,
        (np.float32(1), PANELS, SCALES, None, None, 0, None, None, OUT),
        ValueError,
    ),
    "int8, no depth": (
        kernels.linear_int8,
        (zeros(2, 0), PANELS, SCALES, None, None, 0, None, None, OUT),
        ValueError,
    ),
    "checksum, floats": (kernels.checksum, (zeros(4),), ValueError),
    "checksum, gaps": (kernels.checksum, (np.zeros(8, np.uint8)[::2],), ValueError),
    "checksum, nothing": (kernels.checksum, (), TypeError),
    "pack, flat weight": (kernels.pack_int8, (zeros(12), PANELS, SCALES, SCALES.copy()), ValueError),
    "pack, few panels": (kernels.pack_int8, (zeros(5, 3), PANELS, SCALES, SCALES.copy()), ValueError),
    "pack, few scales": (kernels.pack_int8, (WEIGHT, PANELS, zeros(31), SCALES), ValueError),
    "pack, few totals": (kernels.pack_int8, (WEIGHT, PANELS, SCALES, zeros(31)), ValueError),
    "pack, weight of halves": (
        kernels.pack_int8,
        (zeros(4, 3, dtype=HALF), PANELS, SCALES, SCALES.copy()),
        ValueError,
    ),
    "pack, five bytes apart": (kernels.pack_int8, (apart(4, 3), PANELS, SCALES, SCALES.copy()), ValueError),
    "statistics, too few": (kernels.token_statistics, (WEIGHT, IDS, None), TypeError),
    "statistics, flat logits": (kernels.token_statistics, (zeros(12), IDS, None, TABLE), ValueError),
    "statistics, short targets": (kernels.token_statistics, (WEIGHT, IDS[:3], None, TABLE), ValueError),
    "statistics, targets of 32 bits": (
        kernels.token_statistics,
        (WEIGHT, IDS.astype(np.int32), None, TABLE),
        ValueError,
    ),
    "statistics, an id beyond": (kernels.token_statistics, (WEIGHT, IDS + 3, None, TABLE), ValueError),
    "statistics, an id below": (kernels.token_statistics, (WEIGHT, IDS - 1, None, TABLE), ValueError),
    "statistics, long word starts": (kernels.token_statistics, (WEIGHT, IDS, zeros(4), TABLE), ValueError),
    "statistics, short out": (kernels.token_statistics, (WEIGHT, IDS, None, TABLE[:3]), ValueError),
    "linear, activation 4": (kernels.linear, (X, WEIGHT, 0, BIAS, 4, None, None, OUT), ValueError),
    "linear, activation -1": (kernels.linear, (X, WEIGHT, 0, BIAS, -1, None, None, OUT), ValueError),
    "linear, activation by name": (kernels.linear, (X, WEIGHT, 0, BIAS, "g", None, None, OUT), TypeError),
    "linear, short gate": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, zeros(5), None, OUT), ValueError),
    "linear, gate of doubles": (
        kernels.linear,
        (X, WEIGHT, 0, BIAS, 0, zeros(2, 3, dtype=DOUBLE), None, OUT),
        ValueError,
    ),
    "linear, short residual": (kernels.linear, (X, WEIGHT, 0, BIAS, 0, None, zeros(5), OUT), ValueError),
    "int8, long gate": (
        kernels.linear_int8,
        (X, PANELS, SCALES, None, None, 0, zeros(7), None, OUT),
        ValueError,
    ),
    "int8, long residual": (
        kernels.linear_int8,
        (X, PANELS, SCALES, None, None, 0, None, zeros(7), OUT),
        ValueError,
    ),
    **{
        f"attention, {name}": (kernels.attention, arguments, error)
        for name, arguments, error in (
            ("too few", (Q, Q, Q, K, K.copy(), SPANS, 0, 1.0, 0), TypeError),
            ("queries of three axes", (Q[0], Q, Q, None, None, None, 0, 1.0, 0, ATTENDED), ValueError),
            ("no queries", (None, Q, Q, None, None, None, 0, 1.0, 0, ATTENDED), TypeError),
            ("no heads", (Q[:, :, :0], Q, Q, None, None, None, 0, 1.0, 0, ATTENDED), ValueError),
            ("no keys", (Q, Q[:, :, :0], Q[:, :, :0], None, None, None, 0, 1.0, 0, ATTENDED), ValueError),
            (
                "heads of no width",
                (*[Q[..., :0]] * 3, None, None, None, 0, 1.0, 0, zeros(1, 3, 0)),
                ValueError,
            ),
            (
                "heads that cannot share",
                (zeros(1, 3, 3, 4), Q, Q, None, None, None, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            ("more keys than queries", (Q[:, :2], Q, Q, None, None, None, 0, 1.0, 0, ATTENDED), ValueError),
            (
                "keys of another batch",
                (Q, *zeros(2, 2, 3, 2, 4), None, None, None, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            (
                "keys of another width",
                (Q, *zeros(2, 1, 3, 2, 5), None, None, None, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            ("fewer new values", (Q, Q, Q[:, :2], None, None, None, 0, 1.0, 0, ATTENDED), ValueError),
            (
                "new values that lie otherwise",
                (Q, Q, QKV[:, :, :2], None, None, None, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            (
                "queries with gaps",
                (zeros(1, 3, 2, 8)[..., ::2], Q, Q, None, None, None, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            ("spans of nothing", (Q, Q, Q, None, None, SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            *(
                (f"spans {spans}", (Q, Q, Q, K, K.copy(), np.array(spans), 0, 1.0, 0, ATTENDED), ValueError)
                for spans in (
                    [[0, -1, 3, 0]],
                    [[-1, 2, 3, 0]],
                    [[0, 3, 3, 0]],
                    [[1, 2, 3, 0]],
                    [[0, 2**63 - 1, 3, 0]],
                    [[2**63 - 1, 0, 3, 0]],
                    [[0, 2, 4, 0]],
                    [[0, 2, 2, 0]],
                    [[0, 2, 3, 1]],
                    [[0, 2, 3, 4]],
                    [[0, 2, 3, -1]],
                    [[0, 0, 2**63 - 1, 0]],
                    [[0, 2, 2, 0], [0, 0, 2, 0]],
                    [[0, 2, 3]],
                    [0, 2, 3, 0],
                )
            ),
            ("keys alone", (Q, Q, Q, K, None, SPANS, 0, 1.0, 0, ATTENDED), TypeError),
            ("keys of two axes", (Q, Q, Q, K[0], K.copy(), SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            ("values of other heads", (Q, Q, Q, K, zeros(3, 5, 4), SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            ("a batch of two", (*zeros(3, 2, 3, 2, 4), K, K.copy(), SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            ("a cache of other heads", (Q, Q, Q, *zeros(2, 1, 5, 4), SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            ("fewer values", (Q, Q, Q, K, K.copy()[:, :4], SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            (
                "values that lie otherwise",
                (Q, Q, Q, K, zeros(5, 2, 4).transpose(1, 0, 2), SPANS, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            (
                "keys with gaps",
                (Q, Q, Q, *zeros(2, 2, 5, 8)[..., ::2], SPANS, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            ("keys to read", (Q, Q, Q, read_only(2, 5, 4), K, SPANS, 0, 1.0, 0, ATTENDED), ValueError),
            (
                "keys five bytes apart",
                (Q, Q, Q, *[apart(2, 5, 4)] * 2, SPANS, 0, 1.0, 0, ATTENDED),
                ValueError,
            ),
            ("a first beyond the last", (Q, Q, Q, None, None, None, 4, 1.0, 0, ATTENDED), ValueError),
            ("a first below none", (Q, Q, Q, None, None, None, -1, 1.0, 0, ATTENDED), ValueError),
            ("scale by name", (Q, Q, Q, None, None, None, 0, "1", 0, ATTENDED), TypeError),
            ("window below none", (Q, Q, Q, None, None, None, 0, 1.0, -1, ATTENDED), ValueError),
            ("window by name", (Q, Q, Q, None, None, None, 0, 1.0, "1", ATTENDED), TypeError),
            ("long out", (Q, Q, Q, None, None, None, 1, 1.0, 0, ATTENDED), ValueError),
            ("out to read", (Q, Q, Q, None, None, None, 0, 1.0, 0, read_only(1, 3, 8)), ValueError),
        )
    },
    **{
        f"rotate, {name}": (kernels.rotate, arguments, error)
        for name, arguments, error in (
            ("too few", (Q, Q, TURNS, TURNS), TypeError),
            ("queries of three axes", (Q[0], Q, TURNS, TURNS, False), ValueError),
            ("queries to read", (read_only(1, 3, 2, 4), Q, TURNS, TURNS, False), ValueError),
            ("keys of another width", (Q, zeros(1, 3, 2, 5), TURNS, TURNS, False), ValueError),
            ("fewer keys", (Q, zeros(1, 2, 2, 4), TURNS, TURNS, False), ValueError),
            ("keys of another batch", (Q, zeros(2, 3, 2, 4), TURNS, TURNS, False), ValueError),
            ("keys with gaps", (Q, zeros(1, 3, 2, 8)[..., ::2], TURNS, TURNS, False), ValueError),
            ("flat cosines", (Q, Q, TURNS.ravel(), TURNS, False), ValueError),
            ("fewer sines", (Q, Q, TURNS, TURNS[:2], False), ValueError),
            ("sines of other pairs", (Q, Q, TURNS, TURNS[:, :1].copy(), False), ValueError),
            ("more pairs than there are", (Q, Q, *zeros(2, 3, 3), False), ValueError),
            ("another time", (Q, Q, *zeros(2, 4, 2), False), ValueError),
            ("cosines of doubles", (Q, Q, TURNS.astype(DOUBLE), TURNS, False), ValueError),
        )
    },
    "norm, too few": (kernels.layer_norm, (X, zeros(4), zeros(4), 1e-5), TypeError),
    "norm, no width": (kernels.layer_norm, (zeros(0), zeros(0), zeros(0), 1e-5, zeros(0)), ValueError),
    "norm, rows that end early": (
        kernels.layer_norm,
        (zeros(7), zeros(4), zeros(4), 1e-5, zeros(7)),
        ValueError,
    ),
    "norm, short bias": (kernels.layer_norm, (X, zeros(4), zeros(3), 1e-5, zeros(2, 4)), ValueError),
    "norm, short out": (kernels.layer_norm, (X, zeros(4), zeros(4), 1e-5, OUT), ValueError),
    "rms norm, too many": (kernels.rms_norm, (X, zeros(4), zeros(4), 1e-5, zeros(2, 4)), TypeError),
    "rms norm, no width": (kernels.rms_norm, (zeros(0), zeros(0), 1e-5, zeros(0)), ValueError),
    "rms norm, long weight": (kernels.rms_norm, (X, zeros(5), 1e-5, zeros(2, 4)), ValueError),
    "rms norm, short out": (kernels.rms_norm, (X, zeros(4), 1e-5, OUT), ValueError),
    "rms norm, epsilon by name": (kernels.rms_norm, (X, zeros(4), "e", zeros(2, 4)), TypeError),
    "norm, epsilon by name": (kernels.layer_norm, (X, zeros(4), zeros(4), "e", zeros(2, 4)), TypeError),
    "threads by name": (kernels.set_threads, ("two",), TypeError),
    "threads beyond numbers": (kernels.set_threads, (10**30,), OverflowError),
    "instructions that are none": (kernels.use, ("mmx",), ValueError),
    "instructions by number": (kernels.use, (2,), TypeError),
}


def refusal(call: Callable[..., None], arguments: tuple[Any, ...]) -> type[Exception] | None:
    """Return the kind of error with which a call ends."""
    try:
        call(*arguments)
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize("kernel", sorted({name.partition(",")[0] for name in REFUSED}))
def test_what_does_not_fit_is_refused_and_nothing_is_written_or_held(kernel: str) -> None:
    for case in (name for name in REFUSED if name.partition(",")[0] == kernel):
        call, arguments, error = REFUSED[case]
        arrays = [array for array in arguments if isinstance(array, np.ndarray)]
        before = [(array.tobytes(), sys.getrefcount(array)) for array in arrays]
        for _ in range(3):
            assert refusal(call, arguments) is error, case
        assert [(array.tobytes(), sys.getrefcount(array)) for array in arrays] == before, case


def test_products_of_sizes_beyond_any_number_are_refused() -> None:
    # 2**32 rows and columns, whose product is zero in 64 bits; nothing of this memory is touched.
    try:
        many, nothing = np.zeros(1 << 32, np.float32), zeros(0)
    except MemoryError:
        pytest.skip("there is no room for 16 GiB of addresses")
    with pytest.raises(ValueError, match="do not fit together"):
        kernels.linear(many, many.reshape(1, -1), 0, many, 0, None, None, nothing)
    with pytest.raises(ValueError, match="do not fit together"):
        kernels.lm_head(many, many.reshape(-1, 1), 0, nothing)


def test_a_norm_may_be_written_where_its_rows_were() -> None:
    x, weight, bias = random(9, 33), random(33, seed=1), random(33, seed=2)
    expected, place = own.filled(9, 33), x.copy()
    kernels.layer_norm(x, weight, bias, 1e-5, expected)
    kernels.layer_norm(place, weight, bias, 1e-5, place)
    np.testing.assert_array_equal(place, expected)
    kernels.rms_norm(x, weight, 1e-5, expected)
    place = x.copy()
    kernels.rms_norm(place, weight, 1e-5, place)
    np.testing.assert_array_equal(place, expected)


def test_axes_of_one_may_have_any_stride() -> None:
    new, held = random(3, 1, 3, 1, 1), [random(1, 5, 1, seed=seed) for seed in (1, 2)]
    strided = [
        np.lib.stride_tricks.as_strided(part.copy(), strides=(52 * index, 4, 8 * index))
        for index, part in enumerate(held, 1)
    ]
    expected, out = own.filled(1, 3, 1), own.filled(1, 3, 1)
    kernels.attention(*new, *held, SPANS, 0, 0.3, 0, expected)
    kernels.attention(*new, *strided, SPANS, 0, 0.3, 0, out)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(strided, held)
