"""`gtmctl zone import`: the records of a zone file into a zone, through the API, one set of records at a time.

Every set is checked before the first one is written. What is written is not undone when a later one fails: the import
can be repeated, and goes on where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pdns_gtm_backend.cli.client import ANY_VERSION, Client, path_of
from pdns_gtm_backend.cli.failures import INVALID, NOT_FOUND, Failure, Fault
from pdns_gtm_backend.cli.progress import Progress
from pdns_gtm_backend.cli.session import Session
from pdns_gtm_backend.cli.sources import read_text
from pdns_gtm_backend.cli.zone_file import SOA, Records, Step, parse_zone_file, steps, with_serial
from pdns_gtm_backend.domain.names import canonical

SIGNS: Final = {"create": "+", "update": "~", "delete": "-"}


def import_zone(session: Session, name: str, file: str, *, whole: bool, yes: bool, dry_run: bool) -> None:
    """Carry out the import. Raises Failure."""
    zone = canonical(name)
    try:
        wanted, left_out = parse_zone_file(read_text(file), zone)
    except ValueError as error:
        raise Failure(f"{file} is no zone file of {zone}", INVALID, [Fault("", str(error))]) from None
    if left_out:
        session.say(f"left out, as signing makes them anew: {', '.join(left_out)}")
    client = session.client
    held = _held(client, zone)
    todo = steps(held or (), wanted, replace=whole)
    _show(session, zone, todo, new=held is None)
    if not todo and held is not None:
        session.say(f"zone {zone} holds all of it already")
        return
    if not dry_run:
        session.confirm(f"Write {len(todo)} sets of records to zone {zone}?", yes=yes)
    if held is not None:
        _check(session, zone, todo)
    if dry_run:
        session.say(
            "nothing was written (dry run)"
            + (": the zone is not there yet, so only the file was checked" if held is None else "")
        )
        return
    if held is None:
        client.send("POST", path_of("zones"), {"name": zone})
        try:
            _check(session, zone, todo)
        except Failure:
            client.send("DELETE", path_of("zones", zone), match=ANY_VERSION)
            raise
    _write(session, zone, todo)
    session.say(f"zone {zone}: {len(todo)} sets of records written")


def _held(client: Client, zone: str) -> Sequence[Records] | None:
    """What a zone holds; None where there is no such zone."""
    try:
        items = list(client.items(path_of("zones", zone, "rrsets")))
    except Failure as failure:
        if failure.exit_code == NOT_FOUND:
            return None
        raise
    return [_records(item) for item in items]


def _show(session: Session, zone: str, todo: Sequence[Step], *, new: bool) -> None:
    data = [
        {"action": step.action, **_document(step.records), "name": step.records.name, "type": step.records.type}
        for step in todo
    ]
    head = [f"+ zone {zone}"] if new else []
    lines = [
        f"{SIGNS[step.action]} {held.name} {held.ttl} {held.type}  {'; '.join(held.records)}"
        for step, held in ((step, step.records) for step in todo)
    ]
    session.show(data, lambda: "\n".join([*head, *lines]))


def _check(session: Session, zone: str, todo: Sequence[Step]) -> None:
    """Let the API check every set of records. Raises Failure with all that it finds."""
    faults: list[Fault] = []
    deleted = {step.records.name for step in todo if step.action == "delete"}
    with Progress(f"checking zone {zone}", quiet=session.quiet, total=len(todo)) as progress:
        for step in todo:
            progress.done += 1
            if step.action == "delete":
                continue
            try:
                _send(session.client, zone, step, dry_run=True)
            except Failure as failure:
                if failure.exit_code != INVALID:
                    raise
                # Records that are deleted first may be all that stands in the way.
                if step.records.name not in deleted:
                    faults += [
                        Fault(f"{step.records.name} {step.records.type}", fault.detail) for fault in failure.faults
                    ]
    if faults:
        raise Failure(f"zone {zone}: nothing was written", INVALID, faults)


def _write(session: Session, zone: str, todo: Sequence[Step]) -> None:
    with Progress(f"writing zone {zone}", quiet=session.quiet, total=len(todo)) as progress:
        for step in todo:
            try:
                _send(session.client, zone, _with_present_serial(session.client, zone, step), dry_run=False)
            except Failure as failure:
                failure.hint = (
                    f"{progress.done} of {len(todo)} sets of records were written; repeat the command to go on"
                )
                raise
            progress.done += 1


def _with_present_serial(client: Client, zone: str, step: Step) -> Step:
    """An SOA with no earlier serial than the zone has by now: every write of other records has raised it."""
    if step.records.type != SOA or step.action != "update":
        return step
    held = client.get(_path(zone, step.records))
    return replace(step, records=with_serial(step.records, _records(held)))


def _path(zone: str, records: Records) -> str:
    return path_of("zones", zone, "rrsets", records.name, records.type)


def _records(item: Mapping[str, Any]) -> Records:
    return Records(item["name"], item["type"], item["ttl"], tuple(item["records"]))


def _send(client: Client, zone: str, step: Step, *, dry_run: bool) -> None:
    path = _path(zone, step.records)
    parameters = {"dry_run": dry_run}
    if step.action == "delete":
        client.send("DELETE", path, match=ANY_VERSION, parameters=parameters)
    elif step.action == "create":
        client.send("PUT", path, _document(step.records), new=True, parameters=parameters)
    else:
        client.send("PUT", path, _document(step.records), match=ANY_VERSION, parameters=parameters)


def _document(records: Records) -> dict[str, Any]:
    return {"ttl": records.ttl, "records": list(records.records)}
