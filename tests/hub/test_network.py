"""What stands between here and the Hub: certificates, proxies, filters; with the real client on loopback."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2
from loopback_hub import LoopbackHub
from loopback_proxy import LoopbackProxy

REPO = "acme/tiny"
FAR = "https://hub.example"
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

pytestmark = pytest.mark.slow
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    save_model_folder(folder)
    return folder


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment without the user's certificates and proxies."""
    own = {*VARIABLES, *PROXIES, *map(str.lower, PROXIES)}
    return {name: value for name, value in environment.items() if name not in own}


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_certificate(path: Path, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> Path:
    """Make a certificate that nobody knows, in a file with its key."""
    key = path.with_suffix(".key")
    options = f"-newkey rsa:2048 -nodes -subj /CN=loopback -addext subjectAltName={names}"
    openssl("req", "-x509", *options.split(), "-keyout", str(key), "-out", str(path))
    # Only a certificate that exists can be given an end in the past.
    openssl("x509", "-in", str(path), "-signkey", str(key), "-days", str(days), "-out", str(path))
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate") / "own.pem")


@pytest.fixture
def hub(checkpoint: Path, certificate: Path, environment: dict[str, str]) -> Iterator[LoopbackHub]:
    """Yield a Hub behind TLS."""
    with LoopbackHub(certificate) as hub:
        hub.add(REPO, checkpoint)
        environment["HF_ENDPOINT"] = hub.url
        yield hub


def refusal(gpt2: Gpt2, **variables: str) -> str:
    """Return the line that a refused download prints."""
    result = gpt2("download", "-q", REPO, env=variables)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.count(b"\n") == 1
    return result.stderr.decode().removeprefix("Error: ").strip()


@needs_openssl
def test_an_unknown_certificate_is_named_with_the_variable_that_helps(gpt2: Gpt2, hub: LoopbackHub) -> None:
    line = refusal(gpt2)
    assert line.startswith(f"The certificate of {hub.url} is not trusted: self-signed certificate. ")
    assert "SSL_CERT_FILE" in line
    assert not hub.requests


@needs_openssl
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_variable_of_any_library_adds_a_certificate(
    gpt2: Gpt2, hub: LoopbackHub, certificate: Path, name: str
) -> None:
    result = gpt2("download", "-q", REPO, env={name: str(certificate)})
    assert (result.returncode, result.stderr) == (0, b"")


@needs_openssl
def test_a_folder_of_certificates_serves_too(
    gpt2: Gpt2, hub: LoopbackHub, certificate: Path, tmp_path: Path
) -> None:
    shutil.copy(certificate, tmp_path)
    # OpenSSL finds a certificate in a folder by its hash.
    openssl("rehash", str(tmp_path))
    assert gpt2("download", "-q", REPO, env={"REQUESTS_CA_BUNDLE": str(tmp_path)}).returncode == 0


@needs_openssl
def test_the_clients_own_variable_precedes_and_what_is_gone_is_passed_over(
    gpt2: Gpt2, hub: LoopbackHub, certificate: Path, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path / "other.pem")
    both = {"SSL_CERT_FILE": str(other), "REQUESTS_CA_BUNDLE": str(certificate)}
    assert refusal(gpt2, **both).startswith(f"The certificate of {hub.url} is not trusted: ")
    old = {"REQUESTS_CA_BUNDLE": str(tmp_path / "gone"), "CURL_CA_BUNDLE": str(certificate)}
    assert gpt2("download", "-q", REPO, env=old).returncode == 0


@needs_openssl
def test_a_certificate_file_that_is_none_is_named(gpt2: Gpt2, hub: LoopbackHub, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    expected = f"SSL_CERT_FILE is {file}, which does not exist. Correct it, or unset it."
    assert refusal(gpt2, SSL_CERT_FILE=str(file)) == expected
    file.write_text("none")
    assert refusal(gpt2, SSL_CERT_FILE=str(file)).startswith(
        f"SSL_CERT_FILE is {file}, which cannot be read: "
    )


@needs_openssl
@pytest.mark.parametrize(
    ("names", "days", "reason", "advice"),
    [
        ("IP:127.0.0.1", -1, "certificate has expired", "the clock"),
        ("DNS:other.example", 2, "IP address mismatch", "login page"),
    ],
)
def test_a_certificate_that_does_not_fit_says_why(
    gpt2: Gpt2, environment: dict[str, str], tmp_path: Path, names: str, days: int, reason: str, advice: str
) -> None:
    certificate = make_certificate(tmp_path / "unfit.pem", names, days)
    with LoopbackHub(certificate) as hub:
        line = refusal(gpt2, HF_ENDPOINT=hub.url, SSL_CERT_FILE=str(certificate))
    assert line.startswith(f"The certificate of {hub.url} is not trusted: {reason}")
    assert advice in line


def test_a_server_without_tls_is_no_matter_of_certificates(gpt2: Gpt2) -> None:
    with LoopbackHub() as hub:
        url = hub.url.replace("http:", "https:")
        assert refusal(gpt2, HF_ENDPOINT=url).startswith(f"{url} cannot be reached by TLS: ")


def test_a_proxy_that_asks_for_a_login_is_named_without_a_password(gpt2: Gpt2) -> None:
    with LoopbackProxy(login="me:right") as proxy:
        line = refusal(gpt2, HF_ENDPOINT=FAR, HTTPS_PROXY=f"http://me:wrong@{proxy.address}")
        plain = refusal(gpt2, HF_ENDPOINT="http://hub.example", HTTP_PROXY=f"http://{proxy.address}")
    assert line == (
        f"The proxy {proxy.address} asks for a login (status 407). "
        "Set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT."
    )
    assert plain.startswith(f"The proxy {proxy.address} asks for a login (status 407). ")


def test_a_proxy_that_refuses_is_named_with_its_reason(gpt2: Gpt2) -> None:
    with LoopbackProxy(refusal=(403, "Forbidden by policy")) as proxy:
        line = refusal(gpt2, HF_ENDPOINT=FAR, HTTPS_PROXY=f"http://{proxy.address}")
        plain = refusal(gpt2, HF_ENDPOINT="http://hub.example", HTTP_PROXY=f"http://{proxy.address}")
    assert line.startswith(
        f"The proxy {proxy.address} refuses to connect to {FAR}: 403 Forbidden by policy. "
    )
    assert plain.startswith("Access to http://hub.example is forbidden (status 403), and not by the Hub. ")


def test_a_proxy_that_is_not_there_is_named(gpt2: Gpt2) -> None:
    assert refusal(gpt2, HF_ENDPOINT=FAR, HTTPS_PROXY="http://me:secret@127.0.0.1:9") == (
        f"{FAR} cannot be reached. Check the network and the proxy 127.0.0.1:9. "
        "Downloaded models work without it."
    )


@pytest.mark.parametrize("proxy", ["ftp://proxy.example", "socks5://127.0.0.1:9"])
def test_a_proxy_of_another_kind_is_named(gpt2: Gpt2, proxy: str) -> None:
    line = refusal(gpt2, HF_ENDPOINT=FAR, HTTPS_PROXY=proxy)
    assert proxy in line
    assert "bug" not in line


@needs_openssl
def test_a_proxy_with_a_login_leads_to_the_hub(gpt2: Gpt2, hub: LoopbackHub, certificate: Path) -> None:
    with LoopbackProxy(login="me:right") as proxy:
        variables = {"HTTPS_PROXY": f"http://me:right@{proxy.address}", "SSL_CERT_FILE": str(certificate)}
        result = gpt2("download", "-q", REPO, env=variables)
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"127.0.0.1:{hub.port}" in proxy.tunnels


@pytest.mark.parametrize("where", ["/api/", "/resolve/"])
def test_a_login_page_in_place_of_the_hub_is_recognized(gpt2: Gpt2, checkpoint: Path, where: str) -> None:
    with LoopbackHub() as hub:
        hub.add(REPO, checkpoint)
        hub.show_page(where)
        line = refusal(gpt2, HF_ENDPOINT=hub.url)
    assert line.startswith(f"{hub.url} answered with a web page. ")


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (401, "GatedRepo", "Access to model acme/tiny is restricted.", f"{REPO} is gated."),
        (403, "GatedRepo", "You are not in the authorized list.", f"{REPO} is gated."),
        (
            403,
            None,
            "Enable access in your token settings.",
            f"The Hub refuses access to {REPO}: Enable access",
        ),
        (403, None, None, "forbidden (status 403), and not by the Hub."),
        (407, None, None, "asks for a login (status 407)."),
    ],
)
def test_a_refusal_by_the_hub_is_told_from_one_on_the_way(
    gpt2: Gpt2, status: int, code: str | None, message: str | None, expected: str
) -> None:
    with LoopbackHub() as hub:
        hub.fail("/api/", status, code, message)
        assert expected in refusal(gpt2, HF_ENDPOINT=hub.url)
