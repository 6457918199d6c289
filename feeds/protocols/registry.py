"""The venues that `--feed` knows by name: here once their protocol is whole, not before."""

from feeds.protocols.alpaca import ALPACA, ALPACA_SIP
from feeds.protocols.base import VenueSpec
from feeds.protocols.binance import BINANCE, BINANCE_FUTURES, BINANCE_US
from feeds.protocols.bitstamp import BITSTAMP
from feeds.protocols.bybit import BYBIT, BYBIT_LINEAR
from feeds.protocols.coinbase import COINBASE
from feeds.protocols.coinbase_advanced import COINBASE_ADVANCED
from feeds.protocols.kraken import KRAKEN
from feeds.protocols.okx import OKX

_SPECS: tuple[VenueSpec, ...] = (
    ALPACA,
    ALPACA_SIP,
    BINANCE,
    BINANCE_US,
    BINANCE_FUTURES,
    BITSTAMP,
    BYBIT,
    BYBIT_LINEAR,
    COINBASE,
    COINBASE_ADVANCED,
    KRAKEN,
    OKX,
)

VENUES: dict[str, VenueSpec] = {spec.name: spec for spec in _SPECS}
