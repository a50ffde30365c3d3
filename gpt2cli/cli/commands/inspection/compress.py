"""`gpt2 compress`: any bytes, in as few as the model's predictions need."""

from __future__ import annotations

from gpt2cli.cli.input.text import argument_bytes, begun_chunks, bytes_to_read
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.options.inspection.compression import CompressionOptions
from gpt2cli.cli.output.streams import open_output, stdout_is_terminal
from gpt2cli.errors import UsageError

# As many as are tokenized together.
PIECE_BYTES = 4096


@takes_groups
def compress(
    *,
    target: CompressionOptions,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Compress a FILE with the model's predictions.

    Only the same model, in the same type of weights and on a processor of the same family, can decompress it;
    any number of threads will do. Files of any kind are restored byte for byte. A model compresses what it
    predicts well: text, and slowly.

    With `--text`, print a short text as printable characters.

    `gpt2 compress book.txt -o book.g2; gpt2 decompress book.g2`

    `gpt2 compress --text "The cat sat on the mat."`
    """
    source = target.source()
    if target.text is None and target.output is None and stdout_is_terminal():
        raise UsageError("Compressed bytes are not for a terminal.", "Use -o FILE, or --text TEXT.")
    messages = verbosity.messages()
    chunks = begun_chunks(source, PIECE_BYTES) if target.text is None else iter(())
    loaded = model.load(compute, messages)
    from gpt2cli.cli.output.progress.bytes import byte_progress
    from gpt2cli.inspection.compression.container import compress as compressed
    from gpt2cli.inspection.compression.container import compress_text

    with open_output(target.output) as write:
        if target.text is not None:
            write(compress_text(loaded, argument_bytes(target.text)).encode() + b"\n")
            return
        with byte_progress(messages, bytes_to_read([source])) as watched:
            for data in compressed(loaded, watched(chunks)):
                write(data)
