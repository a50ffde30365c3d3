"""What may follow a text, for `gpt2 next`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from gpt2cli.model.loading import LoadedModel
from gpt2cli.scoring.continuations import Continuations
from gpt2cli.scoring.settings import NextSettings
from gpt2cli.serving.http.commands.route import Emit
from gpt2cli.serving.http.commands.typed import texts, typed
from gpt2cli.serving.http.service import Service
from gpt2cli.serving.http.tickets import Failure, Tickets

TYPES: Mapping[str, tuple[type, ...]] = {
    "top": (int,),
    "candidates": (list,),
    "unit": (str,),
    "bos": (bool,),
    "truncate": (str,),
    "special": (bool,),
}


async def predict(service: Service, fields: Mapping[str, Any], emit: Emit) -> None:
    """Tell the likeliest tokens, or the candidates, as `Continuations` has them.

    Raises:
        UsageError, InputError: as `Continuations` does.
    """
    (text,) = texts([fields.get("text")], "text")
    settings = typed(NextSettings, fields.get("settings"), TYPES)
    texts(list(settings.candidates), "candidates")
    with service.room(1), service.working(partial(_begin, service.loaded, text, settings)) as mailbox:
        told = await mailbox.get()
        if isinstance(told, Failure):
            raise told.error
        await emit(told)


def _begin(loaded: LoadedModel, text: str, settings: NextSettings, tickets: Tickets) -> None:
    tickets.add_chore(_predict(loaded, text, settings, tickets))


def _predict(loaded: LoadedModel, text: str, settings: NextSettings, tickets: Tickets) -> Iterator[None]:
    found = Continuations(loaded, text, settings)
    yield from found.work(tickets.positions_at_once)
    tickets.post(
        {
            "tokens": len(found.ids),
            "truncated": found.truncated,
            "starts_with_bos": found.starts_with_bos,
            "rows": [vars(row) for row in found.rows()],
        }
    )
