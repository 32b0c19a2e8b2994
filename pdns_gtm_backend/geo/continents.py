"""The continent of every country, and what the codes that geo databases hold beside countries stand for.

Countries are those of ISO 3166-1 alpha-2, on the continents where octoDNS has them (`octodns/record/geo_data.py`), so
that a line means the same in both. East Timor, which octoDNS files under no continent, is in Asia (UN M49).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pdns_gtm_backend.domain.client import NOWHERE, Place
from pdns_gtm_backend.domain.line import CONTINENTS

COUNTRIES: Final[Mapping[str, str]] = {
    "AF": (
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA "
        "NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW"
    ),
    "AN": "AQ BV HM TF",
    "AS": (
        "AE AF AM AZ BD BH BN BT CC CN CX CY GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY "
        "NP OM PH PK PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE"
    ),
    "EU": (
        "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK "
        "MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA"
    ),
    "NA": (
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC "
        "TT US VC VG VI"
    ),
    "OC": "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
    "SA": "AR BO BR CL CO EC FK GF GS GY PE PY SR UY VE",
}
"""Continent -> its countries. Every one of the 249 is on exactly one continent."""

USER_ASSIGNED: Final[Mapping[str, str]] = {"XK": "EU"}
"""Kosovo: no ISO code, but what MaxMind and DB-IP call it."""

CONTINENT_OF: Final[Mapping[str, str]] = {
    **{country: continent for continent, countries in COUNTRIES.items() for country in countries.split()},
    **USER_ASSIGNED,
}
"""Country -> continent."""

SYNONYMS: Final[Mapping[str, str]] = {"UK": "GB"}
"""Codes that registries write for a country beside its own."""

REGIONS: Final[Mapping[str, str]] = {"EU": "EU", "AP": "AS", "AN": "NA", "CS": "EU"}
"""Codes that say no more than a continent.

EU and AP are registered for Europe and for Asia/Pacific as a whole (libGeoIP has AP in Asia, too); AN and CS are the
former Netherlands Antilles and Serbia and Montenegro. All others (??, A1, A2, A3, O1, T1, XX, ZZ) say nothing.
"""


@lru_cache(maxsize=65_536)
def interned(continent: str, country: str, subdivision: str, asn: int) -> Place:
    """One shared `Place` for equal values."""
    return Place(continent, country, subdivision, asn)


def place_of(code: str, continent: str = "", subdivision: str = "") -> Place:
    """The place that a database's country `code` stands for.

    continent: what the database says; it counts only where `code` gives none, so that each country is on one continent.
    """
    country = SYNONYMS.get(code, code)
    if country in CONTINENT_OF:
        return interned(CONTINENT_OF[country], country, subdivision, 0)
    region = REGIONS.get(code) or continent
    return interned(region, "", "", 0) if region in CONTINENTS else NOWHERE
