"""What `gtmctl doctor` says: one finding for each thing that was looked at, and the exit code that they make."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pdns_gtm_backend.cli.printing import paint, printable

OK: Final = "ok"
INFO: Final = "info"
SKIPPED: Final = "skipped"
WARNING: Final = "warning"
PROBLEM: Final = "problem"

EXIT_CODES: Final[Mapping[str, int]] = {OK: 0, INFO: 0, SKIPPED: 0, WARNING: 1, PROBLEM: 2}
"""As monitoring plugins have them (monitoring-plugins.org, development guidelines)."""
NOT_EXAMINED: Final = 3
"""The command line or a setting is wrong, so that nothing was looked at: "unknown" of the same guidelines."""

_COLOURS: Final[Mapping[str, str]] = {OK: "green", INFO: "cyan", SKIPPED: "cyan", WARNING: "yellow", PROBLEM: "red"}
_WIDTH: Final = max(map(len, EXIT_CODES))


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing. check: what was looked at. advice: what to do about it; "" = nothing."""

    level: str
    check: str
    found: str
    advice: str = ""


def exit_code(findings: Iterable[Finding]) -> int:
    """The exit code of the worst finding."""
    return max((EXIT_CODES[finding.level] for finding in findings), default=0)


def verdict(findings: Sequence[Finding]) -> str:
    """The worst level: `ok`, `warning` or `problem`."""
    return (OK, WARNING, PROBLEM)[exit_code(findings)]


def report_text(findings: Sequence[Finding], *, colour: bool) -> str:
    """One line for each finding, and one that counts them."""
    problems, warnings = (sum(finding.level == level for finding in findings) for level in (PROBLEM, WARNING))
    last = f"{problems} problems, {warnings} warnings in {len(findings)} checks"
    return "\n".join([*(_line(finding, colour) for finding in findings), last])


def _line(finding: Finding, colour: bool) -> str:
    level = finding.level.ljust(_WIDTH)
    advice = f"; {finding.advice}" if finding.advice else ""
    text = printable(f"{finding.check}: {finding.found}{advice}").replace("\n", " ")
    return f"{paint(level, _COLOURS[finding.level]) if colour else level}  {text}"


def member(data: Any, name: str) -> Mapping[str, Any]:
    """The object in a member of data that another process sent; {} where there is none."""
    found = data.get(name) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}
