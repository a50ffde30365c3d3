"""The text of a token, which may not be UTF-8 on its own."""

from __future__ import annotations


def token_text(data: bytes) -> str:
    """Return the text of a token, or `bytes:` and its bytes as \\xNN if they are not valid UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
