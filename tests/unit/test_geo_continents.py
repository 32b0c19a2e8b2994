from pdns_gtm_backend.domain.client import NOWHERE, Place
from pdns_gtm_backend.geo.continents import CONTINENT_OF, COUNTRIES, place_of

# Unicode CLDR's list of the regions in use (ISO 3166-1), as it abbreviates them.
ISO_3166_1 = (
    "AD~G AI AL~M AO AQ~U AW~X AZ BA~B BD~J BL~O BQ~T BV~W BY~Z CA CC~D CF~I CK~O CR CU~Z DE DJ~K DM DO DZ EC EE EG~H "
    "ER~T FI~K FM FO FR GA~B GD~I GL~N GP~U GW GY HK HM~N HR HT~U ID~E IL~O IQ~T JE JM JO~P KE KG~I KM~N KP KR KW "
    "KY~Z LA~C LI LK LR~V LY MA MC~H MK~Z NA NC NE~G NI NL NO~P NR NU NZ OM PA PE~H PK~N PR~T PW PY QA RE RO RS RU "
    "RW SA~E SG~O SR~T SV SX~Z TC~D TF~H TJ~O TR TT TV~W TZ UA UG UM US UY~Z VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)


def iso_codes() -> set[str]:
    codes = set()
    for text in ISO_3166_1.split():
        first, last = text[1], text[-1]
        codes |= {text[0] + chr(letter) for letter in range(ord(first), ord(last) + 1)}
    return codes


def test_every_country_is_on_exactly_one_continent() -> None:
    listed = [country for countries in COUNTRIES.values() for country in countries.split()]
    assert len(listed) == len(set(listed)) == 249
    assert set(listed) == iso_codes()
    assert set(CONTINENT_OF) - set(listed) == {"XK"}


def test_continents_are_those_of_octodns() -> None:
    assert {code: CONTINENT_OF[code] for code in ("CN", "US", "RU", "TR", "CY", "EG", "BR", "AU", "MX", "AQ")} == {
        "CN": "AS",
        "US": "NA",
        "RU": "EU",
        "TR": "AS",
        "CY": "AS",
        "EG": "AF",
        "BR": "SA",
        "AU": "OC",
        "MX": "NA",
        "AQ": "AN",
    }


def test_special_codes() -> None:
    assert place_of("UK") == Place("EU", "GB")
    assert place_of("EU") == Place("EU")
    assert place_of("AP") == Place("AS")
    for code in ("??", "A1", "A2", "A3", "O1", "T1", "XX", "ZZ", "", "0", "cn"):
        assert place_of(code) == NOWHERE


def test_the_continent_of_the_data_counts_only_without_a_country() -> None:
    assert place_of("CY", "EU") == Place("AS", "CY")
    assert place_of("", "OC") == Place("OC")
    assert place_of("", "XX") == NOWHERE


def test_equal_places_are_one_value() -> None:
    assert place_of("CN") is place_of("CN", "EU")
    assert place_of("US", subdivision="CA") is place_of("US", subdivision="CA")
    assert place_of("US", subdivision="CA") == Place("NA", "US", "CA")
