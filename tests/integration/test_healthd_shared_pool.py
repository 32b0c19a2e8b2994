"""A pool that very many instances share: what becomes of it does not wait for what they are switched to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from healthd.term import MOST_WAITED_FOR, Office, Term
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.leases import Lease
from tests.support.healthd import Healthd, Origins, Site
from tests.support.store import instance, pool

A1, B1 = "127.0.24.1", "127.0.24.2"
INSTANCES = [f"gtm{number:08}" for number in range(MOST_WAITED_FOR + 20)]
STATE = f"target-states/{target_key('web', A1, None, None)}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        yield made


@pytest.fixture
def origins() -> Iterator[Origins]:
    with Origins(A1, B1) as made:
        yield made


@pytest.fixture
def healthd(site: Site, origins: Origins) -> Healthd:
    site.configure(
        site.check(origins.port),
        pool("a", A1, health_checks=("web",)),
        pool("b", B1, health_checks=("web",)),
        *(instance(name, "a", "b") for name in INSTANCES),
    )
    made = site.healthd("hz")
    site.until_health("up", A1, B1)
    site.until(lambda: states(site) == {"default"})
    return made


def states(site: Site) -> set[str | None]:
    """What all instances are switched to."""
    held = site.follower.serving.snapshot.policy_states
    found = [held.get(f"{name}|world|ipv4") for name in INSTANCES]
    return {state and state.set for state in found}


def test_the_address_is_written_first_and_everything_is_told_once(
    site: Site, healthd: Healthd, origins: Origins
) -> None:
    writes, events = len(site.writes()), len(site.events())
    origins.stop(A1)
    site.until(lambda: states(site) == {"failover"})
    first, *rest = [set(write) for write in site.writes()[writes:] if write]
    assert first == {STATE}
    assert set().union(*rest) == {f"policy-states/{name}|world|ipv4" for name in INSTANCES}
    told = [(event["kind"], event.get("instance")) for event in site.events()[events:]]
    switched = [("set.switched", name) for name in INSTANCES]
    assert told == [("address.down", None), ("pool.unavailable", None), *switched]
    origins.start(A1)
    site.until(lambda: states(site) == {"default"})
    told = [(event["kind"], event.get("instance")) for event in site.events()[events + len(told) :]]
    assert told == [("address.up", None), ("pool.available", None), *switched]


def test_what_is_left_by_a_leader_that_ended_in_between_is_done(site: Site, healthd: Healthd, origins: Origins) -> None:
    assert healthd.stop() == 0
    origins.stop(A1)
    vantage, lead = Lease(site.client, keys.vantage_lease("hz")), Lease(site.client, keys.LEADER)
    assert vantage.hold() and lead.hold()
    serving = site.follower.serving
    office = Office(site.repository, site.vantages, site.follower, "hz", lead.token)
    term, events = Term(office, serving, serving), len(site.events())
    now = site.vantages.beat("hz", vantage.token, Heartbeat(time=0))
    down = {target_key("web", A1, None, None): VantageVerdict(up=False, since=now, detail="refused")}
    site.vantages.publish("hz", vantage.token, down)
    term.decide([])
    assert [event["kind"] for event in site.events()[events:]] == ["address.down", "pool.unavailable"]
    assert set(site.writes()[-1]) == {STATE}
    vantage.drop()
    lead.drop()
    assert states(site) == {"default"}
    healthd.start()
    site.until(lambda: states(site) == {"failover"})
    told = [event["kind"] for event in site.events()[events:] if not event["kind"].startswith(("leader", "vantage"))]
    assert told == ["address.down", "pool.unavailable", *["set.switched"] * len(INSTANCES)]
