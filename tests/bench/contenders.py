"""Everything that is compared."""

from collections.abc import Mapping
from typing import Final

from tests.bench.contender import Contender
from tests.bench.contenders_edge import Edge
from tests.bench.contenders_gdnsd import Gdnsd
from tests.bench.contenders_ours import CannedFlask, Http, Unix, Unscoped
from tests.bench.contenders_powerdns import GeoIp, LuaShared, LuaYes, PacketCache

CONTENDERS: Final[Mapping[str, type[Contender]]] = {
    "http": Http,
    "unix": Unix,
    "edge": Edge,
    "unscoped": Unscoped,
    "flask": CannedFlask,
    "gdnsd": Gdnsd,
    "lua-yes": LuaYes,
    "lua-shared": LuaShared,
    "geoip": GeoIp,
    "static": PacketCache,
}
