"""What the machine refuses, in words for users: memory, files, folders."""

from __future__ import annotations

from pathlib import Path

OUT_OF_MEMORY = "out of memory. Try a smaller model or batch."
# PyTorch raises RuntimeErrors of these texts.
TORCH_OUT_OF_MEMORY = ("can't allocate memory", "out of memory")


def explain_machine_error(error: BaseException) -> str | None:
    """Return the message for an error of the machine, or None for another."""
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    # No module of Rust's errors is imported here.
    if type(error).__name__ == "PanicException":
        reason = " ".join(str(error).split())
        return f"the tokenizer's library failed: {reason}. The model's tokenizer files may be damaged."
    if not isinstance(error, RuntimeError):
        return None
    if any(text in str(error) for text in TORCH_OUT_OF_MEMORY):
        return OUT_OF_MEMORY
    # Typer asks for the home folder in order to install a completion.
    if "home directory" in str(error):
        return (
            "there is no home folder to install the completion in. "
            "Set HOME, or write it to a file: gpt2 --show-completion > FILE."
        )
    return None


def _explain_os_error(error: OSError) -> str:
    name = error.filename
    is_relative = name is None or (isinstance(name, str) and not Path(name).is_absolute())
    if isinstance(error, FileNotFoundError) and is_relative and not current_folder_exists():
        return "the current folder no longer exists. Change to one that does."
    where = f"{name}: " if name else ""
    return f"{where}{error.strerror or error}."


def current_folder_exists() -> bool:
    """Return whether the current folder has not been removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True
