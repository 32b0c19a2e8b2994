"""A pool that very many instances share: what becomes of it does not wait for what they are switched to."""

from collections.abc import Iterator

import pytest

from healthd.term import MOST_WAITED_FOR, Office, Term
from pdns_gtm_backend.domain.override import Override, Selector
from pdns_gtm_backend.domain.state import Heartbeat, VantageVerdict
from pdns_gtm_backend.domain.target import target_key
from pdns_gtm_backend.store import keys
from pdns_gtm_backend.store.leases import Lease
from tests.support.healthd import Healthd, Origins, Site
from tests.support.store import Heard, instance, pool

A1, B1 = "127.0.24.1", "127.0.24.2"
INSTANCES = [f"gtm{number:08}" for number in range(MOST_WAITED_FOR + 20)]
STATE = f"target-states/{target_key('web', A1, None, None)}"


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


class Hand:
    """A leader that works one cycle at a time, and the only vantage; while no healthd runs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._leases = [Lease(site.client, key) for key in (keys.vantage_lease("hz"), keys.LEADER)]
        assert all(lease.hold() for lease in self._leases)
        self._heard: Heard = []
        serving = site.follower.serving
        self._term = Term(
            Office(site.repository, site.vantages, site.follower, "hz", self._leases[1].token), serving, serving
        )
        self._events = len(site.events())
        site.follower.listeners.append(lambda serving, changes: self._heard.append((serving, changes)))

    def down(self, *addresses: str, host: str | None = None) -> None:
        """Report that these are."""
        token = self._leases[0].token
        now = self._site.vantages.beat("hz", token, Heartbeat(time=0))
        verdict = VantageVerdict(up=False, since=now, detail="refused")
        targets = [target_key("web", address, host, None) for address in addresses]
        self._site.vantages.publish("hz", token, dict.fromkeys(targets, verdict))

    def decide(self) -> None:
        """One cycle."""
        heard, self._heard[:] = list(self._heard), []
        self._term.decide([(serving, changes or ()) for serving, changes in heard])

    def told(self) -> list[str]:
        """The kinds of the events since it took office."""
        kinds_of = [event["kind"] for event in self._site.events()[self._events :]]
        return [kind for kind in kinds_of if not kind.startswith(("leader", "vantage"))]

    def end(self) -> None:
        """Let others lead."""
        for lease in self._leases:
            lease.drop()


def test_what_is_left_by_a_leader_that_ended_in_between_is_done(site: Site, healthd: Healthd, origins: Origins) -> None:
    assert healthd.stop() == 0
    origins.stop(A1)
    hand = Hand(site)
    hand.down(A1)
    hand.decide()
    assert hand.told() == ["address.down", "pool.unavailable"]
    assert set(site.writes()[-1]) == {STATE}
    hand.end()
    assert states(site) == {"default"}
    healthd.start()
    site.until(lambda: states(site) == {"failover"})
    assert hand.told() == ["address.down", "pool.unavailable", *["set.switched"] * len(INSTANCES)]


def test_that_all_is_down_is_told_by_the_next_leader(site: Site, healthd: Healthd, origins: Origins) -> None:
    assert healthd.stop() == 0
    for address in (A1, B1):
        origins.stop(address)
    hand = Hand(site)
    hand.down(A1, B1)
    hand.decide()
    first = ["address.down", "pool.unavailable"] * 2
    assert hand.told() == first
    hand.end()
    healthd.start()
    site.until(lambda: len(hand.told()) > len(first))
    assert hand.told() == [*first, *["instance.all_down"] * len(INSTANCES)]
    assert site.vantages.ahead() is None


def test_what_else_became_of_pools_is_told_and_written_with_it(site: Site, healthd: Healthd, origins: Origins) -> None:
    """That an event was written means to the next leader that this is told."""
    assert healthd.stop() == 0
    site.configure(pool("c", "192.0.2.1"))
    hand, host = Hand(site), "www.shop.example"
    site.override(Override(id="drain", selector=Selector(pool="c"), effect="offline"))
    site.configure(pool("b", B1, health_checks=("web",), host=host))
    hand.down(A1)
    hand.decide()
    first = ["address.down", "pool.unavailable", "address.offline", "pool.unavailable"]
    assert hand.told() == first
    assert site.state(B1, host=host) == site.state(B1) is not None
    for _ in range(2):
        hand.decide()
    assert hand.told() == [*first, *["set.switched"] * len(INSTANCES)]
    assert site.vantages.ahead() is None
