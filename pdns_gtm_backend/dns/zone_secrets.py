"""Methods for metadata, DNSSEC keys, TSIG keys, and the order of names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from pdns_gtm_backend.dns.denial import hashing_of
from pdns_gtm_backend.dns.presentation import query_name
from pdns_gtm_backend.dns.request import BadRequest, Request
from pdns_gtm_backend.dns.zones import ServedZone
from pdns_gtm_backend.domain.violation import shown
from pdns_gtm_backend.domain.zone_key import TsigKey
from pdns_gtm_backend.domain.zone_metadata import AXFR_KINDS, AXFR_SWITCH
from pdns_gtm_backend.operations import zone_settings
from pdns_gtm_backend.operations.zone_settings import tsig_purpose, zone_key_purpose
from pdns_gtm_backend.store import kinds
from pdns_gtm_backend.store.snapshot import Snapshot

log = logging.getLogger(__name__)

SWITCHED_ON: Final = frozenset({"1", "yes", "true", "on"})


def get_all_domain_metadata(request: Request) -> Any:
    """getAllDomainMetadata."""
    return visible_metadata(request, request.zone())


def get_domain_metadata(request: Request) -> Any:
    """getDomainMetadata."""
    return visible_metadata(request, request.zone()).get(request.text("kind").upper(), [])


def set_domain_metadata(request: Request) -> Any:
    """setDomainMetadata: no values = delete."""
    values = request.parameters.get("value") or []
    if not isinstance(values, list):
        raise BadRequest(f"parameters/value: {shown(values)} is no list")
    operator = request.backend.administration.operator
    zone_settings.set_metadata(operator, _name(request), request.text("kind"), values)
    return True


def visible_metadata(request: Request, zone: ServedZone | None) -> dict[str, list[str]]:
    """A zone's metadata, by kind. What lets it go out by AXFR is left out where names of instances are in it, unless
    X-GTM-AXFR says that this is meant.
    """
    if zone is None:
        return {}
    found = _metadata(request.view.serving.snapshot, zone.zone.name)
    if zone.owned and not SWITCHED_ON.intersection(value.lower() for value in found.get(AXFR_SWITCH, ())):
        return {kind: values for kind, values in found.items() if kind not in AXFR_KINDS}
    return found


def get_domain_keys(request: Request) -> Any:
    """getDomainKeys: private keys in clear, for PowerDNS to sign with. Raises NotPermitted where one is unreadable."""
    zone = query_name(request.text("name")) or ""
    held = request.view.serving.snapshot.of_zone(kinds.ZONE_KEYS, zone)
    sealer = request.backend.administration.sealer
    return [
        {
            "id": key.number,
            "flags": key.flags,
            "active": key.active,
            "published": key.published,
            "content": sealer.open(zone_key_purpose(zone), key.sealed),
        }
        for key in sorted(held.values(), key=lambda key: key.number)
    ]


def add_domain_key(request: Request) -> Any:
    """addDomainKey: the number of the new key."""
    key = request.parameters.get("key")
    if not isinstance(key, dict) or not isinstance(content := key.get("content"), str):
        raise BadRequest("parameters/key: is no object with the content of a key")
    administration = request.backend.administration
    outcome = zone_settings.add_key(
        administration.operator,
        administration.sealer,
        _name(request),
        content,
        key.get("flags"),
        active=_flag(key, "active"),
        published=_flag(key, "published"),
    )
    return outcome.value.number


def remove_domain_key(request: Request) -> Any:
    """removeDomainKey."""
    zone_settings.remove_key(request.backend.administration.operator, _name(request), request.number("id"))
    return True


def switch_domain_key(**switches: bool) -> Callable[[Request], Any]:
    """activateDomainKey and its like: what sets these switches of a key."""

    def switch(request: Request) -> Any:
        operator = request.backend.administration.operator
        zone_settings.switch_key(operator, _name(request), request.number("id"), **switches)
        return True

    return switch


def get_tsig_key(request: Request) -> Any:
    """getTSIGKey: false where there is none."""
    name = query_name(request.text("name")) or ""
    key = request.view.serving.snapshot.tsig_keys.get(name)
    return False if key is None else _tsig(request, name, key)


def get_tsig_keys(request: Request) -> Any:
    """getTSIGKeys."""
    keys = request.view.serving.snapshot.tsig_keys
    return [{"name": f"{name}."} | _tsig(request, name, keys[name]) for name in sorted(keys)]


def set_tsig_key(request: Request) -> Any:
    """setTSIGKey."""
    administration = request.backend.administration
    zone_settings.put_tsig_key(
        administration.operator,
        administration.sealer,
        _name(request),
        request.text("algorithm"),
        request.text("content"),
    )
    return True


def delete_tsig_key(request: Request) -> Any:
    """deleteTSIGKey."""
    zone_settings.delete_tsig_key(request.backend.administration.operator, _name(request))
    return True


def get_before_and_after_names(request: Request) -> Any:
    """getBeforeAndAfterNamesAbsolute: both names relative to the zone, the apex is "."; `unhashed` is absolute."""
    view, orders = request.view, request.backend.administration.orders
    zone = orders.zone(view.zones.by_name, request.number("id"))
    if zone is None:
        return False
    order = orders.of(zone, hashing_of(_metadata(view.serving.snapshot, zone.zone.name)))
    try:
        found = order.around(request.name("qname"))
    except ValueError as error:
        raise BadRequest(f"parameters/qname: {error}") from None
    # PowerDNS asks for the types at this name: it takes it as it is, and adds the zone to the other two.
    unhashed = f"{found.unhashed}.{zone.zone.name}.".lstrip(".")
    return {"before": f"{found.before}.", "after": f"{found.after}.", "unhashed": unhashed}


def _metadata(snapshot: Snapshot, zone: str) -> dict[str, list[str]]:
    held = snapshot.of_zone(kinds.ZONE_METADATA, zone).values()
    return {metadata.kind: list(metadata.values) for metadata in sorted(held, key=lambda metadata: metadata.kind)}


def _tsig(request: Request, name: str, key: TsigKey) -> dict[str, str]:
    secret = request.backend.administration.sealer.open(tsig_purpose(name), key.sealed)
    return {"algorithm": f"{key.algorithm}.", "content": secret}


def _name(request: Request) -> str:
    return request.name("name")


def _flag(key: Mapping[str, Any], name: str) -> bool:
    return key.get(name, True) in (True, 1, "1")
