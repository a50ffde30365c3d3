"""`gpt2 serve`: a model for other programs, over HTTP."""

from __future__ import annotations

from importlib.util import find_spec

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.serving.server import LimitOptions, ServerOptions
from gpt2cli.cli.output.streams import write_stdout
from gpt2cli.errors import Error

NEEDED = ("starlette", "uvicorn", "prometheus_client")


@takes_groups
def serve(
    *,
    server: ServerOptions,
    model: options.ModelOptions,
    limits: LimitOptions,
    compute: options.DecodingOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Serve a model over HTTP, with the OpenAI API for completions and a page for browsers.

    The address is printed once the server can be asked. Ctrl-C stops it.

    `gpt2 serve -m gpt2`

    `curl http://127.0.0.1:8000/v1/completions --json '{"prompt": "Once upon a time"}'`
    """
    server.check()
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise Error(f"gpt2 serve needs {' and '.join(missing)}.", "Run pip install 'gpt2cli[serve]'.")
    from gpt2cli.serving.http.application import application
    from gpt2cli.serving.http.server import Server, open_socket, url_of
    from gpt2cli.serving.http.service import Service

    messages = verbosity.messages()
    # A port that is taken is known before a model is loaded.
    with open_socket(server.host, server.port) as listening:
        loaded = model.load(compute, messages, for_decoding=True)
        url = url_of(listening)
        app = application(
            Service(loaded, limits),
            server.hosts,
            any_address=server.api_key is not None,
            api_key=server.api_key,
        )

        def announce() -> None:
            messages.note(
                f"Serving {loaded.files.name}. The page is at the address; Ctrl-C stops the server."
            )
            write_stdout(f"{url}\n".encode())

        Server(app, limits.grace, announce, verbose=verbosity.verbose).run([listening])
