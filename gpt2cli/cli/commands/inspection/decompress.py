"""`gpt2 decompress`: the bytes that `gpt2 compress` compressed."""

from __future__ import annotations

from gpt2cli.cli.input.text import begun_chunks, bytes_to_read, source_name
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.inspection.compression import CompressionOptions
from gpt2cli.cli.output.streams import open_output

# A read of this many is a good second's work.
READ_BYTES = 64


@takes_groups
def decompress(
    *,
    target: CompressionOptions,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Restore a FILE that `gpt2 compress` made.

    It needs the model that compressed it, in the same type of weights; another one is refused. The result is
    checked: a FILE that is damaged ends with an error and exit code 1.

    `gpt2 decompress book.g2 -o book.txt`
    """
    source = target.source()
    messages = verbosity.messages()
    chunks = begun_chunks(source, READ_BYTES) if target.text is None else iter(())
    loaded = model.load(compute, messages)
    from gpt2cli.cli.output.progress.bytes import byte_progress
    from gpt2cli.inspection.compression.container import decompress as decompressed
    from gpt2cli.inspection.compression.container import decompress_text

    with open_output(target.output) as write:
        if target.text is not None:
            write(decompress_text(loaded, target.text) + b"\n")
            return
        with byte_progress(messages, bytes_to_read([source])) as watched:
            for data in decompressed(loaded, watched(chunks), source_name(source)):
                write(data)
