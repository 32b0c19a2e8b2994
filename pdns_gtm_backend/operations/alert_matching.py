"""What an event is about, as the filters of alert receivers ask."""

from collections.abc import Iterator, Mapping
from typing import Any

from pdns_gtm_backend.domain.alert import Subject
from pdns_gtm_backend.store.snapshot import Snapshot, labels_of


def subject_of(event: Mapping[str, Any], snapshot: Snapshot) -> Subject:
    """The subject of an event of the store, which is not trusted. Names and labels are those of `snapshot`."""
    instances = frozenset((*_texts(event.get("instance")), *_texts(event.get("instances"))))
    pools = frozenset((*_texts(event.get("pool")), *_texts(event.get("pools"))))
    found = [snapshot.instances[name] for name in instances if name in snapshot.instances]
    labels = {f"{key}={value}" for instance in found for key, value in instance.labels.items()}
    for pool, address in ((pool, address) for pool in pools for address in _texts(event.get("address"))):
        labels.update(_address_labels(snapshot, pool, address))
    named = {*_texts(event.get("instance_name")), *(instance.name for instance in found)}
    return Subject(str(event.get("kind")), instances | named, pools, frozenset(labels))


def _address_labels(snapshot: Snapshot, pool: str, address: str) -> Iterator[str]:
    held = snapshot.pools.get(pool)
    for one in held.addresses if held is not None else ():
        if one.address == address:
            yield from labels_of(one)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))
