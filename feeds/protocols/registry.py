"""The venues that `--feed` knows by name: here once their protocol is whole, not before."""

from feeds.protocols.base import VenueSpec

_SPECS: tuple[VenueSpec, ...] = ()

VENUES: dict[str, VenueSpec] = {spec.name: spec for spec in _SPECS}
