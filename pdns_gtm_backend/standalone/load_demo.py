"""Loads the demo through the admin API, if the store is empty. A process of its own: nothing waits for it."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import requests

from pdns_gtm_backend.standalone import demo
from pdns_gtm_backend.standalone.layout import Layout

TIMEOUT_SECONDS: Final = 5.0
READY_SECONDS: Final = 60.0


class Refused(Exception):
    """The API did not do what it was asked for."""


def main(layout: Layout, api: str) -> int:
    """Load the demo into the system of `layout` whose API is at `api`; returns an exit status."""
    marker = demo.read_marker(layout)
    if marker is None:
        print(f"{layout.demo} is gone: the demo is not loaded")
        return 1
    try:
        with _session(layout, api) as session:
            cname = load(session, api, marker.origin_port)
    except (Refused, requests.RequestException, OSError) as error:
        print(f"the demo is not loaded: {error}", file=sys.stderr)
        return 1
    if cname is None:
        print("the store is in use already: the demo is not loaded")
        layout.demo.unlink(missing_ok=True)
        return 0
    demo.write_marker(layout, replace(marker, cname=cname))
    print(f"loaded: instance {demo.INSTANCE_NAME} at {cname}")
    return 0


def _session(layout: Layout, api: str) -> requests.Session:
    """A session with the first admin token, as soon as admin can be written to."""
    session = requests.Session()
    session.trust_env = False
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            session.headers["Authorization"] = f"Bearer {layout.admin_token.read_text().strip()}"
            if session.get(f"{api}/instances", timeout=TIMEOUT_SECONDS).ok:
                return session
        except (OSError, requests.RequestException):
            pass
        if time.monotonic() > deadline:
            raise Refused(f"{api} did not take the token in {layout.admin_token} within {READY_SECONDS:g} s")
        time.sleep(0.1)


def documents(port: int) -> Mapping[str, Sequence[demo.Document]]:
    """What the demo puts into each collection, in an order in which each names what is there already."""
    return {"health-checks": demo.health_checks(port), "pools": demo.pools(), "instances": demo.instances()}


def load(session: requests.Session, api: str, port: int) -> str | None:
    """Create the demo's documents; returns the CNAME domain name of its instance, None where the store is in use.

    What an interrupted load left is no use of the store. Raises Refused.
    """
    there: dict[str, set[str]] = {}
    for name, listed in documents(port).items():
        items = _answer(session.get(f"{api}/{name}", timeout=TIMEOUT_SECONDS))["items"]
        there[name] = {str(item["id"]) for item in items}
        if there[name] - {document.get("id") for document in listed}:
            return None
    made: Mapping[str, Any] = {}
    for name, listed in documents(port).items():
        for document in listed:
            if document.get("id") not in there[name]:
                made = _answer(session.post(f"{api}/{name}", json=document, timeout=TIMEOUT_SECONDS))
    return str(made["cname"])


def _answer(response: requests.Response) -> Mapping[str, Any]:
    if not response.ok:
        raise Refused(
            f"{response.request.method} {response.url} answered {response.status_code}: {response.text[:500]}"
        )
    found = response.json()
    if not isinstance(found, dict):
        raise Refused(f"{response.url} answered no JSON object: {response.text[:200]}")
    return found
