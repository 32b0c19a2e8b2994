"""What probing costs Redis: writes come with changes, not with probes. Redis itself counts them, inside scripts too."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdns_gtm_backend.store import keys
from tests.support.healthd import Origins, Site
from tests.support.store import pool

ADDRESSES = [f"127.0.23.{number}" for number in range(1, 61)]
CHANGED = ADDRESSES[:7]
ROUNDS = 4
LEASES = frozenset({"set", "pexpire"})
HEARTBEAT = "hset"
BEAT_SECONDS = 0.8
"""At least between two heartbeats of a vantage."""
WRITES_OF_A_CHANGE = 12
"""At the most: its verdict and state, an event, the entries of feeds, the revision, and what the leader notes."""
RENEWALS = 10
"""Of the two leases, of a vantage and of the leader, in a second at the most; each is due twice a second."""


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(*ADDRESSES) as made:
        yield made


class Writes:
    """The write commands that Redis has carried out since this was made, by name."""

    def __init__(self, site: Site) -> None:
        self._site = site
        listed = site.client.command()
        # BLPOP waits at an empty list for what a vantage is asked: nothing is written by that.
        self._names = {str(name) for name, told in listed.items() if "write" in told["flags"]} - {"blpop"}
        self._began = time.monotonic()
        site.client.config_resetstat()

    def counted(self) -> tuple[dict[str, int], float]:
        """How many of each, and in how many seconds."""
        found = self._site.client.info("commandstats")
        names = {name.removeprefix("cmdstat_"): int(told["calls"]) for name, told in found.items()}  # type: ignore[union-attr]
        return {name: calls for name, calls in names.items() if name in self._names}, time.monotonic() - self._began


def lengths(site: Site) -> dict[str, int]:
    streams = (keys.VERDICT_FEED, keys.CHANGES)
    return {name.removeprefix(keys.PREFIX): int(str(site.client.xlen(name))) for name in streams}


def quiet(site: Site, origins: Origins) -> bool:
    """Were some rounds of probes without any write but for heartbeats and leases?"""
    before = {address: origins.connections(address) for address in ADDRESSES}
    writes = Writes(site)
    site.until(lambda: all(origins.connections(address) >= before[address] + ROUNDS for address in ADDRESSES))
    found, seconds = writes.counted()
    print(f"\n{ROUNDS * len(ADDRESSES)} probes and no change in {seconds:.1f} s: {found}")
    leases = sum(found.get(name, 0) for name in LEASES)
    beats = found.get(HEARTBEAT, 0)
    of_time = leases <= seconds * RENEWALS + 2 and beats <= seconds / BEAT_SECONDS + 1
    return of_time and sum(found.values()) == leases + beats


def test_writes_are_in_proportion_to_changes_and_not_to_probes(tmp_path: Path, origins: Origins) -> None:
    with Site(tmp_path) as site:
        site.configure(site.check(origins.port, timeout=30), pool("a", *ADDRESSES, health_checks=("web",)))
        site.healthd("hz")
        site.until_health("up", *ADDRESSES)
        # What the leader notes of the last change comes after it.
        site.until(
            lambda: site.client.get(keys.VERDICTS_DECIDED) == site.client.xrevrange(keys.VERDICT_FEED, count=1)[0][0]
        )
        at = lengths(site)
        # A machine that stands still for seconds costs healthd its leases, which is news; it does not so three times.
        assert any(quiet(site, origins) for _ in range(3))
        assert lengths(site)["verdict-feed"] == at["verdict-feed"]

        at = lengths(site)
        writes = Writes(site)
        for address in CHANGED:
            origins.stop(address)
        site.until_health("down", *CHANGED)
        site.until(
            lambda: site.client.get(keys.VERDICTS_DECIDED) == site.client.xrevrange(keys.VERDICT_FEED, count=1)[0][0]
        )
        changed, seconds = writes.counted()
        after = {name: length - at[name] for name, length in lengths(site).items()}
        print(f"{len(CHANGED)} changes in {seconds:.1f} s: {changed}; {after}")
        assert after["verdict-feed"] == len(site.events("address.down")) == len(CHANGED)
        assert after["changes"] <= len(CHANGED)
        sizes = [len(write) for write in site.writes()[-after["changes"] :]]
        assert sum(sizes) == len(CHANGED), "the states of these targets and no others"
        of_time = seconds / BEAT_SECONDS + 1 + seconds * RENEWALS + 2
        assert sum(changed.values()) - of_time <= WRITES_OF_A_CHANGE * len(CHANGED)
