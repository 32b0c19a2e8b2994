"""What may be answered when, known from what the test itself did to the origins; nothing of it reads our snapshot."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Origin:
    """When one origin began and stopped to serve: alternating moments on a monotonic clock, the first a start."""

    moments: list[float] = field(default_factory=list)

    def starts(self, now: float) -> None:
        assert len(self.moments) % 2 == 0
        self.moments.append(now)

    def stops(self, now: float) -> None:
        assert len(self.moments) % 2 == 1
        self.moments.append(now)

    def always(self, up: bool, since: float, until: float) -> bool:
        """Was it up (or down) during all of the time between two moments?"""
        before = bisect.bisect_right(self.moments, since)
        return (before % 2 == 1) == up and bisect.bisect_right(self.moments, until) == before


@dataclass(frozen=True)
class Oracle:
    """Judges answers of pools that select `all` under fail_open.

    origins: by address. sets: the pools' addresses in the order of a policy, by client. settle: seconds within which
    a change must have reached the answers; until then the old and the new are both right.
    """

    origins: Mapping[str, Origin]
    sets: Mapping[str, Sequence[Sequence[str]]]
    settle: float

    def wrong(self, client: str, addresses: Iterable[str], sent: float, received: float) -> str | None:
        """Why an answer that was asked for at `sent` and came at `received` is wrong, or None."""
        answered = frozenset(addresses)
        since = sent - self.settle
        if not answered:
            return "empty"
        sets = self.sets[client]
        holding = next((s for s in sets if answered <= set(s)), None)
        if holding is None:
            return f"{sorted(answered)} are not of one pool of this client"
        if not any(self._known(address, True, since, received) for s in sets for address in s):
            return None  # all may have been down at once: fail_open
        dead = [address for address in answered if self._known(address, False, since, received)]
        if dead:
            return f"{dead} are down since more than {self.settle} s"
        missing = [a for a in holding if a not in answered and self._known(a, True, since, received)]
        if missing:
            return f"{missing} are up since more than {self.settle} s and missing"
        for earlier in sets[: list(sets).index(holding)]:
            if any(self._known(address, True, since, received) for address in earlier):
                return f"answered {sorted(answered)} although the earlier set {list(earlier)} is up"
        return None

    def _known(self, address: str, up: bool, since: float, until: float) -> bool:
        return self.origins[address].always(up, since, until)
