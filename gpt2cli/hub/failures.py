"""What the Hub's client raises, each as one sentence for users."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from gpt2cli.errors import HubError
from gpt2cli.hub import cache as hub_cache

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain(error: Exception, repo: str, revision: str) -> HubError:
    """Return a client's error as one that users understand.

    The exception classes differ between releases of the client. Their attributes and causes do not.
    """
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return _explain_response(response, repo, revision)
        if explained := _explain_failure(cause, repo):
            return explained
    return HubError(f"Fetching {repo} failed: {_first_line(error)}.")


def _explain_response(response: Any, repo: str, revision: str) -> HubError:
    status: int = response.status_code
    code = response.headers.get("X-Error-Code", "")
    if "credentials" in response.headers.get("X-Error-Message", ""):
        return HubError("The Hub does not accept this HF_TOKEN.", "Unset it, or create a new one.")
    if code == "GatedRepo" or status == 403:
        return HubError(
            f"{repo} is gated.", f"Accept its terms at https://huggingface.co/{repo} and set HF_TOKEN."
        )
    if code == "RevisionNotFound":
        return HubError(f"{repo} has no revision {revision}.", "Use a branch, a tag or a full commit hash.")
    if code == "EntryNotFound":
        return HubError(f"A file of {repo} disappeared between listing and download.", "Try again.")
    if status in (401, 404):
        return HubError(
            f"There is no model {repo} on the Hub, or it is private.",
            "Check the name. Private models need HF_TOKEN.",
        )
    if status == 429:
        return HubError("The Hub received too many requests from here.", "Wait, or set HF_TOKEN.")
    if status >= 500:
        return HubError(f"The Hub is unavailable (status {status}).", "Try again later.")
    return HubError(f"The Hub refused to send {repo} (status {status}).")


def _explain_failure(cause: BaseException, repo: str) -> HubError | None:
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    number = getattr(cause, "errno", None)
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if kinds & {"TimeoutException", "TimeoutError"}:
        return HubError(
            f"{host} did not answer in time.", "Try again, or raise HF_HUB_DOWNLOAD_TIMEOUT (in seconds)."
        )
    if kinds & {"RemoteProtocolError", "ReadError"} or "Consistency check" in str(cause):
        return HubError(f"The connection dropped while {repo} was being fetched.", "Try again.")
    if kinds & {"TransportError", "ConnectionError"}:
        return HubError(f"{host} cannot be reached.", "Check the network. Downloaded models work without it.")
    if number in FULL:
        return HubError(f"The disk of {hub_cache.cache_folder()} is full.", "Free some space and try again.")
    if number in FORBIDDEN:
        return HubError(
            f"The cache {hub_cache.cache_folder()} cannot be written.", "Set HF_HOME to another folder."
        )
    if kinds & {"FileMetadataError", "JSONDecodeError"}:
        return HubError(f"{host} does not respond like the Hub.", "Check HF_ENDPOINT and the network.")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".:")
