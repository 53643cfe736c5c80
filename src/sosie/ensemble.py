"""ensemble: trained surrogates become members, each a surrogate file that stands alone."""

from collections.abc import Sequence
from dataclasses import replace

from sosie.domain import read_domain
from sosie.errors import IntermediateError
from sosie.progress import say
from sosie.surrogates import Surrogate, save
from sosie.surrogates.runs import load_runs


def members(trained: Sequence[str], count: int) -> list[Surrogate]:
    """The members: the first masks of one training, or one of each of so many trainings.

    Raises IntermediateError for files that are no trained surrogate, or too many or too few.
    """
    found = load_runs(trained)
    if len(found) == 1:
        return list(found[0].members(count))
    if len(found) != count:
        raise IntermediateError(
            f"{trained[0]}: one of {len(found)} trainings for {count} members; give one for each"
        )
    each = [one.members(1)[0] for one in found]
    for number, member in enumerate(each):
        member.origin = replace(member.origin, member=number)
    return each


def run(trained: Sequence[str], outs: Sequence[str], domain: str | None = None) -> None:
    """Write one member for each path of ``outs``, in the order of the masks or of the trainings, with
    the domain of training from the file ``domain``.

    Raises IntermediateError for a file that is no trained surrogate, or a domain of another one.
    """
    found = members(trained, len(outs))
    where = read_domain(domain) if domain else found[0].domain
    origin = found[0].origin
    if where and (where.detector, where.scaling.as_dict()) != (
        origin.detector,
        origin.transform.features.as_dict(),
    ):
        raise IntermediateError(
            f"{domain}: is not the domain of the training sample of {trained[0]}; run preprocess again"
        )
    for path, member in zip(outs, found, strict=True):
        member.domain = where
        save(path, member)
    say("ensemble", f"{trained[0]}: {len(outs)} members of {len(trained)} trainings")
