"""Random changes of bytes, JSON values and texts; each is a function of the generator alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

Change = Callable[[Random, bytes], bytes]

HEADER = 8
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "\n",
        "a\nb",
        "\x1b[5mred",
        "\x9b2J",
        "\x7f",
        "\u202eevil",
        "\u2028",
        "\ud800",
        "x" * 5000,
    ),
    *(
        "../../evil",
        "/etc/passwd",
        "..",
        "C:\\evil",
        "nan",
        "inf",
        "-1",
        "1e999",
        "0x10",
        "²",
        "True",
        "null",
    ),
    *("é", "\N{ZERO WIDTH JOINER}", "👍🏽", "wte.weight", "F32", "float16", "gelu", "[PAD]", "<|endoftext|>"),
)
NUMBERS = (
    *(0, 1, 2, 3, 5, 7, 8, 255, 256, 65536, 65537, 1000000, -1, -2, -(2**31), 2**31 - 1, 2**31, 2**32, 2**53),
    *(
        2**63 - 1,
        2**63,
        2**64,
        -(2**63) - 1,
        10**30,
        10**400,
        0.5,
        -0.0,
        1e-300,
        1e300,
        float("nan"),
        float("inf"),
    ),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": None}, [0] * 300)


def hostile_value(draw: Random) -> Any:
    """Return a value that no file should have there."""
    return deepcopy(draw.choice(draw.choice((TEXTS, NUMBERS, OTHERS))))


def changed_bytes(draw: Random, data: bytes) -> bytes:
    """Return data with some bits flipped, parts cut, repeated, moved or overwritten."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        # What a file begins with decides most.
        size = draw.choice((len(changed), len(changed), min(len(changed), 64), min(len(changed), 1024)))
        at = draw.randrange(size + 1)
        end = min(len(changed), at + draw.choice((1, 2, 4, 8, 100)))
        match draw.randrange(7):
            case 0 | 1 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 2:
                changed[at:end] = draw.randbytes(end - at)
            case 3:
                changed[at:at] = draw.choice(
                    (changed[at:end], draw.randbytes(end - at), b"\0" * 8, b"\n", b'"')
                )
            case 4:
                del changed[at:end]
            case 5 if draw.random() < 0.3:
                del changed[at:]
            case 6:
                number = draw.choice((0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 1 << draw.randrange(64)))
                changed[at : at + 8] = struct.pack("<Q", number)
    return bytes(changed)


def changed_value(draw: Random, value: Any) -> Any:
    """Return a JSON value with one to three places in it changed."""
    root = [deepcopy(value)]
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(root))
        # Large lists of one kind would get nearly all changes.
        parent, key = draw.choice(draw.choice((places[:60], places)))
        _change_place(draw, parent, key)
    return root[0]


def changed_json(draw: Random, data: bytes) -> bytes:
    """Return JSON with changed values, or changed bytes, or nested without end."""
    kind = draw.randrange(20)
    if kind == 0:
        return draw.choice((b"[", b'{"a":')) * draw.choice((100, 1000, 100_000))
    if kind < 4:
        return changed_bytes(draw, data)
    text = json.dumps(changed_value(draw, json.loads(data)))
    if kind == 4:
        # A name that is there twice; the last one counts in Python.
        text = text.replace("{", '{"n_layer": 3, "__metadata__": {}, ', 1)
    return text.encode()


def changed_safetensors(draw: Random, data: bytes) -> bytes:
    """Return a safetensors file with a changed header, or changed bytes."""
    if draw.random() < 0.3:
        return changed_bytes(draw, data)
    size = struct.unpack("<Q", data[:HEADER])[0]
    header, numbers = json.loads(data[HEADER : HEADER + size]), data[HEADER + size :]
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    match draw.randrange(6) if tensors else 5:
        case 0:
            # Overlaps and holes.
            entry = draw.choice(tensors)
            entry["data_offsets"] = [
                offset + draw.choice((-4, -1, 1, 4, 64)) for offset in entry["data_offsets"]
            ]
        case 1:
            first, second = draw.choice(tensors), draw.choice(tensors)
            first["data_offsets"], second["data_offsets"] = second["data_offsets"], first["data_offsets"]
        case 2:
            numbers = draw.choice((numbers + b"\0" * draw.choice((1, 4, 64)), numbers[:-1], numbers[4:], b""))
        case 3:
            entry = draw.choice(tensors)
            entry["dtype"] = draw.choice(
                ("F16", "BF16", "F64", "I8", "U8", "I64", "BOOL", "F8_E4M3", "f32", "")
            )
        case _:
            header = changed_value(draw, header)
    encoded = json.dumps(header).encode()
    if draw.random() < 0.1:
        name = draw.choice(list(header)) if isinstance(header, dict) and header else "x"
        encoded = encoded.replace(b"{", b"{" + json.dumps(name).encode() + b": {}, ", 1)
    encoded += b" " * draw.choice((0, 0, 0, 1, 7, 8))
    length = (
        len(encoded) if draw.random() < 0.9 else draw.choice((0, 1, 2**63, len(encoded) + 8, 100_000_001))
    )
    return struct.pack("<Q", length) + encoded + numbers


def changed_lines(draw: Random, data: bytes) -> bytes:
    """Return lines of text with some of them changed, removed, repeated or moved."""
    if draw.random() < 0.2:
        return changed_bytes(draw, data)
    lines = data.split(b"\n")
    for _ in range(draw.choice((1, 2, 4))):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        text = draw.choice(TEXTS).encode("utf-8", "surrogatepass")
        match draw.randrange(6):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines.insert(
                    at, draw.choice((text, b'"', b'{"text": 1}', b"\t\t", b",", b"[", b"]", b"\xff"))
                )
            case 4:
                lines[at] += draw.choice((b"\r", b"\t", b",", b'"', text))
            case _:
                lines[at] = changed_bytes(draw, lines[at])
    return b"\n".join(lines)


def changed_json_lines(draw: Random, data: bytes) -> bytes:
    """Return lines of JSON with a value of one of them changed, or changed as any lines are."""
    if draw.random() < 0.3:
        return changed_lines(draw, data)
    lines = data.split(b"\n")
    at = draw.choice([number for number, line in enumerate(lines) if line.strip()])
    try:
        lines[at] = changed_json(draw, lines[at])
    except ValueError:
        # A line that was cut off.
        lines[at] = changed_bytes(draw, lines[at])
    return b"\n".join(lines)


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """Return all places within a value: a container and the key or index of what it holds."""
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    for container in waiting:
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            places.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return places


def _change_place(draw: Random, parent: Any, key: Any) -> None:
    value = parent[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match draw.randrange(6):
        case 0 if isinstance(parent, dict):
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[draw.choice(TEXTS)] = parent.pop(key)
        case 2 if isinstance(parent, dict):
            other = draw.choice(list(parent))
            parent[key], parent[other] = parent[other], parent[key]
        case 3 if isinstance(value, list):
            value.insert(draw.randrange(len(value) + 1), draw.choice((*value[:3], hostile_value(draw))))
        case 3 | 4 if number:
            parent[key] = draw.choice(
                (
                    value + 1,
                    value - 1,
                    value * 2,
                    -value,
                    str(value),
                    [value],
                    value / 2 if abs(value) < 2**53 else 0.5,
                )
            )
        case _:
            parent[key] = hostile_value(draw)
