"""Options of `gpt2 serve`: where it listens, who may ask, and how much it takes on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from gpt2cli.cli.options.shared import API_KEY
from gpt2cli.errors import UsageError
from gpt2cli.serving.http.limits import Limits

SERVER, LIMITS = "Server", "Limits"

_server = partial(typer.Option, rich_help_panel=SERVER)
_limit = partial(typer.Option, rich_help_panel=LIMITS)


@dataclass(frozen=True, eq=False, repr=False)
class ServerOptions:
    """Where a server listens, and who may ask."""

    host: Annotated[str, _server(metavar="ADDRESS", help="Listen there.")] = "127.0.0.1"
    port: Annotated[int, _server(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8000
    api_key: Annotated[
        str | None,
        _server(
            metavar="KEY",
            envvar=API_KEY,
            show_envvar=False,
            show_default=False,
            help="Ask for KEY; also GPT2_API_KEY.",
        ),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        _server(metavar="NAME", show_default=False, help="Answer for NAME too; may be repeated."),
    ] = None

    def check(self) -> None:
        """Check that a server that others can reach asks for a key.

        Raises:
            UsageError: it does not.
        """
        from gpt2cli.serving.http.addresses import is_loopback

        if self.api_key == "":
            raise UsageError("The API key is empty.", "Leave out `api_key`, or set it to a long random text.")
        if self.api_key is None and not is_loopback(self.host):
            raise UsageError(
                f"Others could use a server at {self.host}.",
                "Set `api_key`, or GPT2_API_KEY, to a long random text that clients must send.",
            )

    @property
    def hosts(self) -> Collection[str]:
        """The names that the server answers for."""
        from gpt2cli.serving.http.addresses import LOOPBACK_HOSTS

        return {*LOOPBACK_HOSTS, self.host, *(self.allow_host or ())}


class LimitOptions(Limits):
    """How much a server takes on."""

    batch_size: Annotated[int, _limit(metavar="N", help="Samples at once.")]
    queue: Annotated[int, _limit(metavar="N", help="Samples that may wait.")]
    kv_memory: Annotated[
        int | None,
        _limit(metavar="MB", show_default="a quarter free", help="For keys and values."),
    ]
    body_bytes: Annotated[int, _limit("--max-body", metavar="BYTES", help="Largest request.")]
    seconds: Annotated[float, _limit("--timeout", metavar="S", help="Longest answer.")]
    grace: Annotated[float, _limit(metavar="S", help="Time to finish when it is stopped.")]
