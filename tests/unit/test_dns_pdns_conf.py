from pathlib import Path

import pytest

from pdns_gtm_backend.dns.pdns_conf import backend_url, render
from pdns_gtm_backend.settings import Settings


def parsed(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.partition("=") for line in lines]
    assert len({name for name, _, _ in pairs}) == len(pairs), "a setting is given twice"
    return {name: value for name, _, value in pairs}


def test_the_configuration_that_is_used() -> None:
    found = parsed(render(Settings(dns_port=5399, backend_port=8999, backend_secret="s3-cret_"), Path("/run/gtm")))
    assert (found["local-address"], found["local-port"], found["socket-dir"]) == ("127.0.0.1", "5399", "/run/gtm")
    assert found["remote-connection-string"] == (
        "http:url=http://127.0.0.1:8999/dns/s3-cret_,post=1,post_json=1,timeout=2000"
    )
    assert "@" not in "".join(found.values())


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8053/dns"),
        ("0.0.0.0", "http://127.0.0.1:8053/dns"),
        ("::", "http://[::1]:8053/dns"),
        ("::1", "http://[::1]:8053/dns"),
    ],
)
def test_where_powerdns_reaches_the_backend(listen: str, url: str) -> None:
    assert backend_url(Settings(listen=listen)) == url


@pytest.mark.parametrize("secret", ["a,b", "a/b", "a b", "ä", "a\nlaunch=bind"])
def test_a_secret_that_would_break_the_url_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="GTM_BACKEND_SECRET: may hold letters") as caught:
        render(Settings(backend_secret=secret), Path("/run/gtm"))
    assert secret not in str(caught.value)


def test_an_address_to_listen_on_is_no_name() -> None:
    with pytest.raises(ValueError, match="GTM_LISTEN: 'localhost\\\\nlaunch=bind' is no IP address"):
        render(Settings(listen="localhost\nlaunch=bind"), Path("/run/gtm"))


def test_a_path_too_long_for_the_control_socket_is_refused() -> None:
    with pytest.raises(ValueError, match=r"GTM_VAR: .* is too long for a unix socket"):
        render(Settings(), Path("/" + "x" * 100))


def test_a_path_cannot_bring_settings_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"GTM_VAR: .*launch=bind"):
        render(Settings(), Path("/run/gtm\nlaunch=bind"))
