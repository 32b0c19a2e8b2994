"""The verdicts of one vantage: which it has, which the store is known to hold, and which are still to be told."""

from collections.abc import Iterable, Mapping
from typing import Final

from healthd.probes.result import Result
from healthd.verdicts import Verdict, advance, changed
from pdns_gtm_backend.domain.health_check import HealthCheck
from pdns_gtm_backend.domain.state import TargetState, VantageVerdict

STALL_SECONDS: Final = 1.0
"""A probe that failed and took longer than its timeout by this much was held up by the prober itself."""


class VerdictBook:
    """Verdicts by target key. Not thread-safe; does no IO, and is told the time (seconds since the epoch)."""

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._published: dict[str, bool] = {}
        self._untold: set[str] = set()
        self._doubtful: set[str] = set()

    def __len__(self) -> int:
        return len(self._verdicts)

    def verdict(self, key: str) -> Verdict | None:
        """What is thought of a target; None where it is not probed."""
        return self._verdicts.get(key)

    @property
    def untold(self) -> bool:
        """Is there something that the store is to be told?"""
        return any(self._tellable(key) for key in self._untold)

    def is_news(self, key: str) -> bool:
        """Is the store to be told of this target?"""
        return key in self._untold and self._tellable(key)

    def _tellable(self, key: str) -> bool:
        verdict = self._verdicts.get(key)
        return verdict is None or verdict.up is not False or key not in self._doubtful

    def clear(self) -> None:
        """Forget everything: the name of this vantage is another's now."""
        self.adopt({})

    def adopt(self, held: Mapping[str, VantageVerdict]) -> None:
        """Go on from what the store holds of this vantage."""
        self._verdicts = {key: Verdict(up=seen.up, since=seen.since) for key, seen in held.items()}
        self._published = {key: seen.up for key, seen in held.items()}
        self._untold, self._doubtful = set(), set()

    def follow(self, wanted: Iterable[str], states: Mapping[str, TargetState]) -> None:
        """Keep exactly these targets. A new one begins with the known state, so that joining changes nothing."""
        keys = frozenset(wanted)
        for key in (self._verdicts.keys() | self._published.keys()) - keys:
            self._verdicts.pop(key, None)
            self._doubtful.discard(key)
            if key in self._published:
                self._untold.add(key)
            else:
                self._untold.discard(key)
        for key in keys - self._verdicts.keys():
            self._verdicts[key] = _first_verdict(states.get(key))

    def take(self, key: str, result: Result, check: HealthCheck, now: float, *, trusted: bool = True) -> Verdict | None:
        """Count a result; the verdict after it, None where the target is not probed any more.

        trusted: may this vantage trust its own eyes? If not, that a target is down is kept back until a probe fails
        that can be trusted.
        """
        before = self._verdicts.get(key)
        if before is None:
            return None
        if not result.ok and result.duration > check.timeout + STALL_SECONDS:
            return before
        after = self._verdicts[key] = advance(before, result, check, now)
        confirmed = key not in self._published and result.conclusive and result.ok == after.up
        if changed(before, after) or confirmed:
            self._untold.add(key)
        if result.conclusive and not result.ok:
            (self._doubtful.discard if trusted else self._doubtful.add)(key)
        return after

    def take_untold(self, limit: int) -> dict[str, VantageVerdict | None]:
        """What is to be told now; None = the target is no longer probed. `told` or `not_told` must follow."""
        batch: dict[str, VantageVerdict | None] = {}
        for key in sorted(self._untold):
            if len(batch) == limit:
                break
            if not self._tellable(key):
                continue
            self._untold.discard(key)
            verdict = self._verdicts.get(key)
            if verdict is None:
                batch[key] = None
            elif verdict.up is not None and self._published.get(key) != verdict.up:
                batch[key] = _told(verdict, verdict.up)
        return batch

    def told(self, batch: Mapping[str, VantageVerdict | None]) -> None:
        """The store holds it."""
        for key, verdict in batch.items():
            if verdict is None:
                self._published.pop(key, None)
            else:
                self._published[key] = verdict.up

    def not_told(self, batch: Iterable[str]) -> None:
        """The store did not take it, or nobody knows: tell it again."""
        for key in batch:
            self._published.pop(key, None)
            self._untold.add(key)

    def compare(self, held: Mapping[str, VantageVerdict]) -> None:
        """The store holds this: tell again what it has lost, or has otherwise, and withdraw what is not probed."""
        for key, up in list(self._published.items()):
            if key in self._verdicts and (key not in held or held[key].up != up):
                del self._published[key]
                self._untold.add(key)
        for key in held.keys() - self._verdicts.keys():
            self._untold.add(key)


def _first_verdict(state: TargetState | None) -> Verdict:
    if state is None or state.health == "unknown":
        return Verdict()
    return Verdict(up=state.health == "up", since=state.since)


def _told(verdict: Verdict, up: bool) -> VantageVerdict:
    failure = verdict.last_failure
    return VantageVerdict(
        up=up,
        since=verdict.since,
        reason=failure.reason if failure else "",
        detail=failure.detail[:500] if failure else "",
    )
