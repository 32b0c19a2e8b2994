"""What a vantage remembers of the probes of a target: the latest results, and separately the latest failures."""

import struct
from collections import deque
from collections.abc import Iterator
from typing import Final, get_args

from healthd.probes.failure import Reason
from healthd.probes.result import Phase, Result
from pdns_gtm_backend.domain.state import ProbeRecord

KEPT: Final = 50
REASONS: Final[tuple[Reason | None, ...]] = (None, *get_args(Reason))
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
ABSENT: Final = -1.0
_PACKED: Final = struct.Struct(f"<df{len(PHASES)}fBB")


class Ring:
    """The last 50 results, packed: 10,000 targets keep a million of them, which as objects would fill a machine.

    Details are kept as they are; equal ones one after the other are one string.
    """

    __slots__ = ("_details", "_records")

    def __init__(self) -> None:
        self._records = bytearray()
        self._details: deque[str] = deque(maxlen=KEPT)

    def add(self, at: float, result: Result) -> None:
        """Keep a result that came in `at` (seconds since the epoch), and drop the oldest where there are too many."""
        if len(self._details) == KEPT:
            del self._records[: _PACKED.size]
        timings = (result.timings.get(phase, ABSENT) for phase in PHASES)
        reason, phase = REASONS.index(result.reason), PHASES.index(result.phase)
        self._records += _PACKED.pack(at, result.duration, *timings, reason, phase)
        repeated = self._details and self._details[-1] == result.detail
        self._details.append(self._details[-1] if repeated else result.detail)

    def copy(self) -> "Ring":
        """One that later results do not change."""
        other = Ring()
        other._records[:] = self._records
        other._details.extend(self._details)
        return other

    def __len__(self) -> int:
        return len(self._details)

    def __iter__(self) -> Iterator[ProbeRecord]:
        """Oldest first."""
        for fields, detail in zip(_PACKED.iter_unpack(self._records), self._details, strict=True):
            at, duration, *timings, reason, phase = fields
            yield ProbeRecord(
                at=at,
                ok=REASONS[reason] is None,
                reason=REASONS[reason],
                detail=detail[:1000],
                phase=PHASES[phase],
                duration=round(duration, 6),
                timings={p: round(t, 6) for p, t in zip(PHASES, timings, strict=True) if t >= 0},
            )


class History:
    """The latest results and the latest failures of one target. Not thread-safe."""

    __slots__ = ("failures", "results")

    def __init__(self) -> None:
        self.results = Ring()
        self.failures: Ring | None = None

    def add(self, at: float, result: Result) -> None:
        """Keep a result that came in `at` (seconds since the epoch)."""
        self.results.add(at, result)
        if not result.ok:
            self.failures = self.failures or Ring()
            self.failures.add(at, result)

    def copy(self) -> "History":
        """One that later results do not change."""
        other = History()
        other.results = self.results.copy()
        other.failures = None if self.failures is None else self.failures.copy()
        return other


def record(at: float, result: Result) -> ProbeRecord:
    """One result as it is told."""
    return ProbeRecord(
        at=at,
        ok=result.ok,
        reason=result.reason,
        detail=result.detail[:1000],
        phase=result.phase,
        duration=round(result.duration, 6),
        timings={phase: round(seconds, 6) for phase, seconds in result.timings.items()},
    )
