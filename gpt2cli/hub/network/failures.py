"""What the Hub's client raises, each as one sentence for users."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from gpt2cli.errors import HubError
from gpt2cli.hub import cache as hub_cache
from gpt2cli.hub.network.logins import without_login, without_logins
from gpt2cli.hub.network.requests import TOO_MANY, requested_wait

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
LOGIN_NEEDED = 407
# OpenSSL's codes for a certificate whose time has not begun or is over, or that is for another host.
OUT_OF_TIME = (9, 10)
WRONG_HOST = (62, 64)
LONGEST_REASON = 200


def explain(error: Exception, repo: str, revision: str) -> HubError:
    """Return a client's error as one that users understand.

    The exception classes differ between releases of the client. Their attributes and causes do not.
    """
    causes = list(_causes(error))
    # The innermost cause says most: the client wraps a refused certificate in a failed connection.
    for cause in reversed(causes):
        if explained := _explain_connection(cause):
            return explained
    for cause in causes:
        response = getattr(cause, "response", None)
        if response is not None:
            return _explain_response(response, repo, revision)
        if explained := _explain_failure(cause, repo):
            return explained
    return HubError(f"Fetching {repo} failed: {without_logins(_first_line(error))[:LONGEST_REASON]}.")


def _explain_connection(cause: BaseException) -> HubError | None:
    """Explain what keeps a connection to the Hub from being made, if it has a particular reason."""
    kinds = class_names(cause)
    if "SSLCertVerificationError" in kinds:
        return _explain_certificate(cause)
    if "SSLError" in kinds:
        return _explain_tls(cause)
    if "ProxyError" in kinds:
        status = str(cause).split(" ", 1)[0]
        return _explain_proxy(int(status) if status.isdecimal() else 0, str(cause))
    if "UnsupportedProtocol" in kinds:
        if host().startswith(("http://", "https://")):
            return unlike_the_hub("it redirects to what is no web address")
        return HubError(f"HF_ENDPOINT is {host()}, which is no web address.", "It begins with https://.")
    if kinds & {"ImportError", "ValueError"} and "proxy" in str(cause).lower():
        socks = " A SOCKS proxy needs the package socksio." if "ImportError" in kinds else ""
        return HubError(
            f"The proxy{_of_proxy()} cannot be used.{socks}", "Set HTTPS_PROXY to http://HOST:PORT."
        )
    return None


def _explain_certificate(cause: BaseException) -> HubError:
    reason = str(getattr(cause, "verify_message", "") or _first_line(cause)).rstrip(".")
    code = getattr(cause, "verify_code", None)
    hint = (
        "If this network inspects connections, set SSL_CERT_FILE to a file with its CA certificates; "
        "REQUESTS_CA_BUNDLE is read too."
    )
    if code in OUT_OF_TIME:
        hint = "Check the clock of this machine."
    if code in WRONG_HOST:
        hint = "A login page of this network may answer in its place; check HF_ENDPOINT too."
    return HubError(f"The certificate of {host()} is not trusted: {reason}.", hint)


def _explain_tls(cause: BaseException) -> HubError:
    reason = str(getattr(cause, "reason", None) or _first_line(cause)).replace("_", " ").lower()
    # What is wrong with a file is found before there is a connection.
    if getattr(cause, "library", None) in ("X509", "PEM"):
        file = os.environ.get("SSL_CERT_FILE")
        return HubError(f"SSL_CERT_FILE is {file}, which cannot be read: {reason}.", "It takes a PEM file.")
    return HubError(
        f"{host()} cannot be reached by TLS: {reason}.",
        "Check HTTPS_PROXY, HF_ENDPOINT, and what else stands between here and the Hub.",
    )


def _explain_proxy(status: int, reason: str) -> HubError:
    if status == LOGIN_NEEDED:
        return HubError(
            f"The proxy{_of_proxy()} asks for a login (status 407).",
            "Set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT.",
        )
    return HubError(
        f"The proxy{_of_proxy()} refuses to connect to {host()}: {_printable(reason)}.",
        "Ask who runs it, or set HF_ENDPOINT to a mirror that it allows.",
    )


def _explain_response(response: Any, repo: str, revision: str) -> HubError:
    status: int = response.status_code
    code = response.headers.get("X-Error-Code", "")
    reason = response.headers.get("X-Error-Message", "")
    if "credentials" in reason:
        return HubError("The Hub does not accept this HF_TOKEN.", "Unset it, or create a new one.")
    if code == "GatedRepo":
        return HubError(
            f"{repo} is gated.", f"Accept its terms at https://huggingface.co/{repo} and set HF_TOKEN."
        )
    if code == "RevisionNotFound":
        return HubError(f"{repo} has no revision {revision}.", "Use a branch, a tag or a full commit hash.")
    if code == "EntryNotFound":
        return HubError(f"A file of {repo} disappeared between listing and download.", "Try again.")
    if status == LOGIN_NEEDED:
        return _explain_proxy(status, "")
    if status == 403:
        return _explain_refusal(repo, reason)
    if status in (401, 404):
        return HubError(
            f"There is no model {repo} on the Hub, or it is private.",
            "Check the name. Private models need HF_TOKEN.",
        )
    if status == TOO_MANY:
        wait = requested_wait(response)
        told = f", and asks to wait for {wait:,} s" if wait else ""
        return HubError(f"The Hub received too many requests from here{told}.", "Wait, or set HF_TOKEN.")
    if status >= 500:
        return HubError(f"The Hub is unavailable (status {status}).", "Try again later.")
    return HubError(f"The Hub refused to send {repo} (status {status}).")


def _explain_refusal(repo: str, reason: str) -> HubError:
    # The Hub says why. A proxy or a filter has no such header.
    if reason:
        return HubError(f"The Hub refuses access to {repo}: {_printable(reason)}.", "Check HF_TOKEN.")
    return HubError(
        f"Access to {host()} is forbidden (status 403), and not by the Hub.",
        "A proxy or a filter of this network may block it: ask who runs it, or set HF_ENDPOINT to a mirror.",
    )


def _explain_failure(cause: BaseException, repo: str) -> HubError | None:
    kinds = class_names(cause)
    number = getattr(cause, "errno", None)
    where = host()
    if kinds & {"TimeoutException", "TimeoutError"}:
        return HubError(
            f"{where} did not answer in time.", "Try again, or raise HF_HUB_DOWNLOAD_TIMEOUT (in seconds)."
        )
    if kinds & {"RemoteProtocolError", "ReadError"}:
        return HubError(f"The connection dropped while {repo} was being fetched.", "Try again.")
    if kinds & {"TransportError", "ConnectionError"}:
        through = f" and the proxy{_of_proxy()}" if _of_proxy() else ""
        return HubError(
            f"{where} cannot be reached.", f"Check the network{through}. Downloaded models work without it."
        )
    if number in FULL:
        return HubError(f"The disk of {hub_cache.cache_folder()} is full.", "Free some space and try again.")
    if number in FORBIDDEN:
        return HubError(
            f"The cache {hub_cache.cache_folder()} cannot be written.", "Set HF_HOME to another folder."
        )
    if kinds & {"LocalProtocolError", "UnicodeEncodeError"}:
        # The reason would show the token.
        return HubError("The request cannot be sent.", "Check HF_TOKEN for characters that no token has.")
    if "JSONDecodeError" in kinds:
        if str(getattr(cause, "doc", "")).lstrip().startswith("<"):
            return web_page()
        return HubError(f"{where} does not respond like the Hub.", "Check HF_ENDPOINT and the network.")
    return None


def host() -> str:
    """Return the address of the Hub or its mirror, without a login in it."""
    return without_login(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))


def _of_proxy() -> str:
    """Return the proxy between here and the Hub after a space, without its password, or nothing."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    hub = urlsplit(host())
    proxies = getproxies()
    proxy = proxies.get(hub.scheme) or proxies.get("all")
    if not proxy or (hub.hostname and proxy_bypass(hub.hostname)):
        return ""
    return f" {_printable(without_login(proxy).removeprefix('http://'))}"


def web_page() -> HubError:
    """Return the error for a page in place of what was asked for."""
    return HubError(
        f"{host()} answered with a web page.",
        "A login page or a filter of this network may have sent it: open the address in a browser.",
    )


def unlike_the_hub(problem: str) -> HubError:
    """Return the error for an answer that the Hub would not give."""
    return HubError(
        f"{host()} does not respond like the Hub: {problem}.", "Check HF_ENDPOINT and the network."
    )


def class_names(cause: BaseException) -> set[str]:
    """Return the names of an error's classes; the classes differ between releases of the client."""
    return {kind.__name__ for kind in type(cause).__mro__}


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".:")


def _printable(text: str) -> str:
    """Return what a server said as a short text without control characters."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown[:LONGEST_REASON].strip().rstrip(".")
