"""Where the events of a sample lie against the domain of training, told and judged by generate."""

from typing import Any

import numpy as np

from sosie.domain import AWAY, EDGE, OUTSIDE, ZONE, Domain
from sosie.errors import InputError
from sosie.events import Column, pieces
from sosie.files import Digest
from sosie.progress import warn

Array = np.ndarray[Any, Any]


def _digest(conditions: Array | Column) -> str:
    state = Digest()
    for where in pieces(len(conditions)):
        state.add(np.ascontiguousarray(conditions[where]).reshape(-1).view(np.uint8).data)
    return state.hexdigest()


class Zones:
    """Zones and distances of the conditions of one file, once for all surrogates of one domain.

    ``outside`` says what becomes of events outside: warn, flag or refuse.
    """

    def __init__(self, path: str, outside: str) -> None:
        self._path, self._outside = path, outside
        self._last: tuple[Domain | None, str, dict[str, Array]] | None = None

    def of(
        self, source: str, domain: Domain | None, conditions: Array | Column
    ) -> dict[str, Array]:
        """Columns of zone (N,) uint8 and distance (N,) float32; none where ``source`` has no domain.

        Raises InputError for events outside, or no domain, where these are to be refused.
        """
        asked = _digest(conditions)
        if self._last is not None:
            known, before, found = self._last
            alike = known is domain or (known and domain and known.same(domain))
            if alike and before == asked:
                return found
        found = {} if domain is None else self._placed(domain, conditions)
        if domain is None:
            self._without(source)
        self._last = domain, asked, found
        return found

    def _without(self, source: str) -> None:
        text = f"{source}: holds no domain of training; run ensemble again, by hand with --domain"
        if self._outside == "refuse":
            raise InputError(text)
        if self._outside == "warn":
            warn("generate", f"{text}, so that zones can be told")

    def _placed(self, domain: Domain, conditions: Array | Column) -> dict[str, Array]:
        distance = np.empty(len(conditions), np.float32)
        zone = np.empty(len(conditions), np.uint8)
        for where in pieces(len(conditions)):
            distance[where] = domain.distance(conditions[where])
            zone[where] = domain.zone(distance[where])
        count, edge, outside = len(zone), int((zone == EDGE).sum()), int((zone == OUTSIDE).sum())
        if outside and self._outside == "refuse":
            first = int(np.argmax(zone == OUTSIDE))
            raise InputError(
                f"{self._path}: {outside} of {count} events lie outside the domain of training, entry "
                f"{first} first, at distance {distance[first]:.3g} (outside from "
                f"{domain.far_limit:.3g} on); leave them out, train on such events, or set "
                "generate.outside to warn or flag"
            )
        if outside and self._outside == "warn":
            warn(
                "generate",
                f"{self._path}: {outside} of {count} events ({100 * outside / count:.3g} %) lie outside "
                f"the domain of training, {edge} ({100 * edge / count:.3g} %) at its edge; "
                f"{ZONE} and {AWAY} tell which",
            )
        return {ZONE: zone, AWAY: distance}
