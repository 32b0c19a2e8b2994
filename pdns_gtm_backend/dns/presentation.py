"""Domain names as PowerDNS asks for them."""

from pdns_gtm_backend.domain.names import canonical
from pdns_gtm_backend.domain.record import written_name


def query_name(text: str) -> str | None:
    """The one form in which a name is looked up: lower case, no trailing dot, the escapes that PowerDNS writes.

    None where `text` is no domain name. Only names with a backslash are read label by label: PowerDNS writes
    everything else in this form already, but for the letter case.
    """
    if "\\" not in text:
        return canonical(text)
    try:
        return written_name(text)
    except ValueError:
        return None
