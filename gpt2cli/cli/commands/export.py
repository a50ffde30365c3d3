"""`gpt2 export`: write a model as a GGUF file or as a folder."""

from __future__ import annotations

from gpt2cli.cli.options import models as arguments
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.output.streams import write_path


@takes_groups
def export(
    model: arguments.Name,
    *,
    output: arguments.Exported,
    type_: arguments.NumberType = None,
    force: arguments.Replace = False,
    offline: options.Offline = False,
    verbosity: options.QuietOptions,
) -> None:
    """Write MODEL for other programs, and print the path.

    A file that ends in .gguf is for llama.cpp and ollama. A folder gets config.json, safetensors and the
    tokenizer, as transformers writes them. Numbers keep the type they are stored in, but what is quantized
    becomes f32, and GGUF files have vectors and the position embedding as f32. q8_0 needs
    `pip install 'gpt2cli[gguf]'`.

    `gpt2 export gpt2 -o gpt2.gguf --type q8_0`

    `gpt2 export model.gguf -o ./folder`
    """
    from gpt2cli.model import exporting

    messages = verbosity.messages()
    path = exporting.export(model, output, type=type_, force=force, offline=offline, reporter=messages)
    write_path(path)
