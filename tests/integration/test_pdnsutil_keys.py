"""Metadata, DNSSEC keys and TSIG keys by pdnsutil, and that no secret is anywhere in clear."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.domain.zone import Zone
from tests.support.dns_system import DnsSystem
from tests.support.documents import rrset
from tests.support.ports import free_port
from tests.support.powerdns import BackendProcess, wait_for
from tests.support.writable_system import ZONE, command, run, util, writable_system

PLAIN = "plain.example"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsSystem]:
    documents = (Zone(name=PLAIN, number=3), rrset(PLAIN, "mail.plain.example", "A", "192.0.2.9"))
    with writable_system(tmp_path_factory.mktemp("d"), None, *documents) as running:
        yield running


def keys(system: DnsSystem, zone: str) -> list[tuple[int, int, bool, bool]]:
    """Number, flags, active and published of the keys of a zone."""
    found = system.backend.call("getDomainKeys", name=f"{zone}.")
    return [(key["id"], key["flags"], key["active"], key["published"]) for key in found]


def transfer(system: DnsSystem, zone: str, *options: str) -> str:
    return run("dig", "+tcp", "@127.0.0.1", "-p", str(system.client.port), zone, "AXFR", *options).stdout


def test_metadata_is_set_added_read_and_deleted(system: DnsSystem) -> None:
    util(system, "set-meta", PLAIN, "ALSO-NOTIFY", "192.0.2.1", "192.0.2.2")
    util(system, "add-meta", PLAIN, "ALSO-NOTIFY", "192.0.2.3")
    util(system, "set-meta", PLAIN, "X-OWNER", "mail team")
    assert system.backend.call("getDomainMetadata", name=f"{PLAIN}.", kind="ALSO-NOTIFY") == [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
    ]
    util(system, "set-meta", PLAIN, "ALSO-NOTIFY")
    assert util(system, "get-meta", PLAIN).splitlines()[1:] == ["X-OWNER = mail team"]


def test_metadata_of_a_zone_that_is_not_there_is_refused(system: DnsSystem) -> None:
    assert system.powerdns.util("set-meta", "nowhere.example", "X-OWNER", "me").returncode == 1
    assert system.backend.call("getAllDomainMetadata", name="nowhere.example.") == {}


def test_keys_are_added_switched_and_removed(system: DnsSystem) -> None:
    util(system, "add-zone-key", PLAIN, "ksk", "256", "active", "ecdsa256")
    util(system, "add-zone-key", PLAIN, "zsk", "inactive", "unpublished", "ecdsa256")
    assert keys(system, PLAIN) == [(1, 257, True, True), (2, 256, False, False)]
    util(system, "activate-zone-key", PLAIN, "2")
    util(system, "publish-zone-key", PLAIN, "2")
    util(system, "deactivate-zone-key", PLAIN, "1")
    util(system, "unpublish-zone-key", PLAIN, "1")
    assert keys(system, PLAIN) == [(1, 257, False, False), (2, 256, True, True)]
    util(system, "remove-zone-key", PLAIN, "1")
    assert keys(system, PLAIN) == [(2, 256, True, True)]
    util(system, "disable-dnssec", PLAIN)
    assert keys(system, PLAIN) == []


def test_a_key_is_exported_and_imported_unchanged(system: DnsSystem, tmp_path: Path) -> None:
    util(system, "secure-zone", PLAIN)
    (key,) = keys(system, PLAIN)
    file = tmp_path / "key"
    file.write_text(util(system, "export-zone-key", PLAIN, str(key[0])))
    before = util(system, "export-zone-dnskey", PLAIN, str(key[0]))
    util(system, "disable-dnssec", PLAIN)
    util(system, "import-zone-key", PLAIN, str(file), "active", "ksk")
    assert util(system, "export-zone-dnskey", PLAIN, "1") == before
    assert " IN DS " in util(system, "export-zone-ds", PLAIN)
    util(system, "disable-dnssec", PLAIN)


@pytest.mark.parametrize(("words", "rrtype"), [(("set-publish-cds",), "CDS"), (("set-publish-cdnskey",), "CDNSKEY")])
def test_what_the_parent_takes_is_published(system: DnsSystem, words: tuple[str], rrtype: str) -> None:
    util(system, "secure-zone", PLAIN)
    util(system, *words, PLAIN)
    wait_for(lambda: system.client.ask(PLAIN, rrtype).values(rrtype), f"{rrtype} of {PLAIN}")
    util(system, "un" + words[0], PLAIN)
    util(system, "disable-dnssec", PLAIN)


def test_tsig_keys_are_made_listed_and_deleted(system: DnsSystem) -> None:
    util(system, "import-tsig-key", "One.Key", "hmac-sha512", "c2VjcmV0LW9mLXRzaWc=")
    assert util(system, "list-tsig-keys").split() == ["one.key.", "hmac-sha512.", "c2VjcmV0LW9mLXRzaWc="]
    assert system.backend.call("getTSIGKey", name="ONE.key.") == {
        "algorithm": "hmac-sha512.",
        "content": "c2VjcmV0LW9mLXRzaWc=",
    }
    util(system, "delete-tsig-key", "one.key")
    assert util(system, "list-tsig-keys") == ""
    assert system.backend.call("getTSIGKey", name="one.key.") is False


def test_a_zone_goes_out_to_who_signs_and_to_nobody_else(system: DnsSystem) -> None:
    secret = "dHJhbnNmZXItc2VjcmV0"
    util(system, "import-tsig-key", "transfer", "hmac-sha256", secret)
    util(system, "activate-tsig-key", PLAIN, "transfer", "primary")
    signature = ("-y", f"hmac-sha256:transfer:{secret}")
    wait_for(lambda: "192.0.2.9" in transfer(system, PLAIN, *signature), "signed transfer")
    assert "Transfer failed" in transfer(system, PLAIN)
    assert "192.0.2.9" not in transfer(system, PLAIN, "-y", "hmac-sha256:transfer:d3Jvbmctc2VjcmV0")
    util(system, "deactivate-tsig-key", PLAIN, "transfer", "primary")
    wait_for(lambda: "Transfer failed" in transfer(system, PLAIN, *signature), "no transfer")


def test_a_zone_with_instances_goes_out_only_where_that_is_switched_on(system: DnsSystem) -> None:
    secret = "dHJhbnNmZXItc2VjcmV0"
    util(system, "import-tsig-key", "transfer", "hmac-sha256", secret)
    util(system, "activate-tsig-key", ZONE, "transfer", "primary")
    util(system, "set-meta", ZONE, "ALLOW-AXFR-FROM", "127.0.0.0/8")
    signature = ("-y", f"hmac-sha256:transfer:{secret}")
    for options in ((), signature):
        assert "192.0.2.1" not in transfer(system, ZONE, *options)
    util(system, "set-meta", ZONE, "X-GTM-AXFR", "1")
    util(system, "set-meta", ZONE, "TSIG-ALLOW-AXFR", "transfer")
    wait_for(lambda: "192.0.2.1" in transfer(system, ZONE, *signature), "signed transfer")


def test_no_secret_is_in_clear_in_the_store_on_disk_or_in_a_log(system: DnsSystem) -> None:
    util(system, "secure-zone", PLAIN)
    util(system, "import-tsig-key", "hidden", "hmac-sha256", "aGlkZGVuLXNlY3JldC1rZXk=")
    private = util(system, "export-zone-key", PLAIN, "1")
    found = re.search(r"PrivateKey: (\S+)", private)
    assert found is not None
    secrets = (found[1].encode(), b"aGlkZGVuLXNlY3JldC1rZXk=", b"PrivateKey")
    system.backend.stop()
    system.backend.start()
    wait_for(lambda: system.backend.get("/livez") is not None, "backend")
    folders = (system.redis.folder, system.backend.settings.var)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert {"backend.snapshot", "backend.log"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path
    snapshots = (system.backend.settings.var / "snapshot").iterdir()
    assert any(b"sealed" in path.read_bytes() for path in snapshots)
    assert keys(system, PLAIN)[0][:2] == (1, 257)


def test_with_another_secret_nothing_is_answered_unsigned(system: DnsSystem) -> None:
    util(system, "secure-zone", ZONE)
    mine = system.backend.settings
    other = BackendProcess(mine.model_copy(update={"key_secret": "another-secret-0123456789-0123456789"}))
    system.backend.stop()
    with other:
        wait_for(lambda: other.readiness()["revision"], "other backend")
        with pytest.raises(Exception, match=r"400|another secret"):
            other.call("getDomainKeys", name=f"{ZONE}.")
    without = BackendProcess(mine.model_copy(update={"key_secret": ""}))
    with without:
        wait_for(lambda: without.readiness()["revision"], "backend without a secret")
        done = system.powerdns.util("add-zone-key", ZONE, "zsk", "active", "ecdsa256")
        assert done.returncode == 1
        assert "GTM_KEY_SECRET" in command(system, "refusals")
    system.backend.start()
    wait_for(lambda: system.backend.get("/livez") is not None, "backend")
    assert keys(system, ZONE) == [(1, 257, True, True)]


def test_a_deleted_zone_takes_its_keys_and_metadata_along(system: DnsSystem) -> None:
    assert "is made" in command(system, "zone add gone.example")
    util(system, "set-meta", "gone.example", "X-OWNER", "me")
    util(system, "secure-zone", "gone.example")
    assert "is deleted" in command(system, "zone delete gone.example")
    assert "is made" in command(system, "zone add gone.example")
    assert keys(system, "gone.example") == []
    assert system.backend.call("getAllDomainMetadata", name="gone.example.") == {}


def test_a_wrong_secret_is_said_at_the_start(system: DnsSystem) -> None:
    update = {"key_secret": "short", "backend_port": free_port()}
    wrong = BackendProcess(system.backend.settings.model_copy(update=update))
    with pytest.raises(AssertionError, match="GTM_KEY_SECRET: a secret has fewer than 20 characters"):
        wrong.__enter__()
