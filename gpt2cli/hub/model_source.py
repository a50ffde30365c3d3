"""The meaning of a model's name: a repository on the Hub, or a path."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import NamedTuple

from gpt2cli.errors import HubError, brief, shown
from gpt2cli.hub.checkpoint_files import GGUF
from gpt2cli.hub.known_models import BUNDLED_MODEL, EXAMPLES, KNOWN_MODELS, is_closed, known_model

BUNDLED_FOLDER = Path(__file__).parents[1] / "data" / BUNDLED_MODEL
DEFAULT_REVISION = "main"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# A plain name, of which the Hub's have several parts for a pull request: refs/pr/1.
REVISION = re.compile(r"\w[\w.+-]{,99}(?:/\w[\w.+-]{,99}){,3}")


class ModelSource(NamedTuple):
    """The place of a model: a path, or a repository under each id that its cache folder may have."""

    name: str
    path: Path | None = None
    repos: tuple[str, ...] = ()
    revision: str = DEFAULT_REVISION

    @property
    def spelling(self) -> str:
        """The name with its revision, as a user would type it."""
        return self.name if self.revision == DEFAULT_REVISION else f"{self.name}@{self.revision}"


def model_source(name: str) -> ModelSource:
    """Return the place that a name means; a known name takes precedence over a folder of the same name.

    Raises:
        HubError: the name is not a known name, a repository or a path, or the model is closed.
    """
    if name.lower() == BUNDLED_MODEL:
        return ModelSource(BUNDLED_MODEL, path=BUNDLED_FOLDER)
    base, _, revision = name.partition("@")
    revision = revision or DEFAULT_REVISION
    known = known_model(base)
    if known:
        # Before repositories had owners, a cache folder was named after the model alone.
        return ModelSource(known.name, repos=(known.repo, known.name), revision=_plain(revision))
    path = path_of(name)
    if name and is_there(path):
        return ModelSource(name, path=path)
    if is_closed(base):
        raise HubError(
            f"{brief(name)} is closed: OpenAI has not published its weights.",
            f"Open models are {', '.join(EXAMPLES[:-1])} and {EXAMPLES[-1]}.",
        )
    if REPOSITORY.fullmatch(base) and ".." not in base and not _looks_like_path(base):
        return ModelSource(base, repos=(base,), revision=_plain(revision))
    raise _unknown(name)


def path_of(name: str) -> Path:
    """Return the path that a name would be, with the home folder of a user in place of its `~`."""
    try:
        return Path(name).expanduser()
    # There is no such user, or this one has no home folder.
    except RuntimeError:
        return Path(name)


def is_there(path: Path) -> bool:
    """Return whether there is a file or folder, which no name has that is too long for one."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def _plain(revision: str) -> str:
    if REVISION.fullmatch(revision) and ".." not in revision:
        return revision
    raise HubError(
        f"{revision[:80]!r} cannot be the name of a revision.", "Use a branch, a tag or a full commit hash."
    )


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "~", "/")) or name.endswith((".safetensors", GGUF))


def _unknown(name: str) -> HubError:
    if "/" in name or _looks_like_path(name):
        return HubError(
            f"There is no model at {name}.", "Use a folder, a .safetensors or .gguf file, or OWNER/NAME."
        )
    # Imported here because only a mistyped name needs it.
    from difflib import get_close_matches

    known = [*(model.name for model in KNOWN_MODELS), BUNDLED_MODEL]
    aliases = [alias for model in KNOWN_MODELS for alias in model.aliases]
    close = get_close_matches(name, known, n=1) or get_close_matches(name, aliases, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Use {', '.join(EXAMPLES)}, OWNER/NAME or a path."
    return HubError(f"There is no model named {shown(name)}.", hint)
