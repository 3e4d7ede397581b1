"""Finds the weakest conditions of the vocabulary under which a claim that fails holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, permutations

from mbp.errors import MbpError
from mbp.expr.build import is_zero
from mbp.expr.dims import ONE
from mbp.expr.nodes import Var
from mbp.invariants.vocabulary import VOCABULARY
from mbp.numeric.arithmetic import FLOAT64
from mbp.referee.conditions import Condition, Has, Sizes, Trial, Varies
from mbp.referee.judge import Deadline, Judgement, Level, judged, precisely
from mbp.referee.sampling import is_varied, may_be_deficient, may_exceed, sample
from mbp.referee.statement import Claim, dimension_symbols, spoken_of
from mbp.referee.witness import Status, outcome

Progress = Callable[[str], None]

_STRUCTURED = {
    "antisymmetric", "diagonal", "lower_triangular", "orthonormal_columns", "projector",
    "upper_triangular", "partition",
}  # fmt: skip

_PATTERNS = (
    "antisymmetric", "lower_triangular", "upper_triangular", "diagonal", "orthonormal_columns",
    "orthogonal", "projector",
)  # fmt: skip
_MOST_PAIRS = 400

Found = tuple[tuple[Condition, ...], Judgement]


def weakest(claim: Claim, deadline: Deadline, progress: Progress) -> Found | None:
    """A weakest set of symmetries, sizes, ranks and signs that makes the claim true.

    Sets are tried from small to large, those that make the claim hold before those that make it
    right as a functional only. None when no set was found before the deadline.
    """
    return _first(claim, _sets(list(_candidates(claim))), deadline, progress)


def patterned(claim: Claim, deadline: Deadline, progress: Progress) -> Found | None:
    """Like `weakest`, for patterns of entries, such as triangles, and for orthogonality.

    Such a matrix is so special that nearly anything holds of one.
    """
    patterns = list(_pattern_candidates(claim))
    return _first(claim, _alike(patterns), deadline, progress)


def _first(
    claim: Claim, sets: Iterable[tuple[Condition, ...]], deadline: Deadline, progress: Progress
) -> Found | None:
    found: Found | None = None
    for chosen in sets:
        if deadline.passed or (found is not None and len(chosen) > len(found[0])):
            break
        progress(f"trying {', '.join(map(str, chosen))}")
        judgement = _rescued(claim, chosen)
        if judgement is None:
            continue
        if judgement.level is Level.HOLDS:
            return chosen, judgement
        found = found or (chosen, judgement)
    return found


def _candidates(claim: Claim) -> Iterator[Condition]:
    """Single conditions, the weaker before those that imply them."""
    free = _free(claim)
    varied = _varied(claim)
    square = [x for x in free if x.is_square and not x.is_scalar and x not in varied]
    yield from (Has(x.name, "symmetric") for x in square)
    yield from (Varies(x.name, "symmetric") for x in varied)
    yield from (Has(x.name, "symmetric") for x in varied)
    yield from _sizes(claim)
    for x in free:
        yield from (Has(x.name, prop) for prop in _definite(x))


def _pattern_candidates(claim: Claim) -> Iterator[Condition]:
    varied = _varied(claim)
    for x in _free(claim):
        if x in varied:
            yield from (Varies(x.name, prop) for prop in ("antisymmetric", "diagonal"))
        yield from (Has(x.name, prop) for prop in _patterns(x))


def _free(claim: Claim) -> list[Var]:
    return [x for x in spoken_of(claim) if not _is_given(x)]


def _varied(claim: Claim) -> list[Var]:
    """The square matrices whose variation the claim is about."""
    differentiated = {v.args[0] for v in claim.variations}
    if claim.target is None:
        differentiated.add(claim.variable)
    return [x for x in _free(claim)
            if x.is_square and not x.is_scalar and x in differentiated and is_varied(x)]


def _sizes(claim: Claim) -> Iterator[Sizes]:
    """Relations of two dimensions, where the declarations leave either of them possible."""
    spoken = spoken_of(claim)
    # As many parts as points is no partition worth the name.
    trivial = [{*x.rows.free_symbols, *x.cols.free_symbols}
               for x in spoken if "partition" in x.properties]  # fmt: skip
    symbols = dimension_symbols(spoken)
    pairs = [pair for pair in combinations(symbols, 2) if set(pair) not in trivial]
    for m, n in (pair for pair in permutations(symbols, 2) if set(pair) not in trivial):
        if may_exceed(claim, m, n) and may_exceed(claim, n, m):
            yield Sizes(m, ">=", n)
    yield from (Sizes(m, "=", n) for m, n in pairs)


def _is_given(x: Var) -> bool:
    """Whether x has a structure already, to which a further one would leave next to nothing."""
    return bool(VOCABULARY.closure(x.properties) & (_STRUCTURED - {"diagonal"}))


def _definite(x: Var) -> Iterator[str]:
    """Ranks, signs and definiteness."""
    known = VOCABULARY.closure(x.properties)
    if ONE not in x.shape and may_be_deficient(x):
        yield from ("invertible",) if x.is_square else ("full_column_rank", "full_row_rank")
    if not x.is_scalar and x.is_square and "positive" not in known:
        yield from ("positive_semidefinite", "positive_definite")
    else:
        yield from ("nonnegative", "positive")


def _patterns(x: Var) -> Iterator[str]:
    known = VOCABULARY.closure(x.properties)
    if x.is_scalar or known & (_STRUCTURED | {"positive", "nonnegative", "invertible"}):
        return
    for prop in _PATTERNS:
        if "symmetric" in known and prop not in ("diagonal", "projector"):
            continue
        if x.is_square and prop == "orthonormal_columns":
            continue  # such a square matrix is called orthogonal
        if x.is_square or not VOCABULARY[prop].square:
            yield prop


def _sets(candidates: Sequence[Condition]) -> Iterator[tuple[Condition, ...]]:
    """Single conditions, then pairs about different things, then one for each variable."""
    yield from ((c,) for c in candidates)
    pairs = [pair for pair in combinations(candidates, 2) if _goes_together(*pair)]
    pairs.sort(key=lambda pair: any(isinstance(c, Sizes) for c in pair))
    yield from pairs[:_MOST_PAIRS]
    for prop in ("symmetric", "positive_definite"):
        whole = tuple(c for c in candidates if isinstance(c, Has) and c.prop == prop)
        if len(whole) > 2:
            yield whole


def _goes_together(one: Condition, other: Condition) -> bool:
    if isinstance(one, Sizes) and isinstance(other, Sizes):
        return {one.left, one.right} != {other.left, other.right}
    if isinstance(one, Has) and isinstance(other, Has) and one.name == other.name:
        return {one.prop, other.prop} == {"symmetric", "invertible"}
    return True


def _alike(candidates: Sequence[Condition]) -> Iterator[tuple[Condition, ...]]:
    """Single conditions, then one property of two variables, or of one and its variation."""
    yield from ((c,) for c in candidates)
    for one, other in combinations(candidates, 2):
        if not isinstance(one, Sizes) and not isinstance(other, Sizes) and one.prop == other.prop:
            yield one, other


def _rescued(claim: Claim, conditions: tuple[Condition, ...]) -> Judgement | None:
    """The judgement under the conditions, if they make the claim true and not trivial."""
    trial = Trial(conditions)
    try:
        for x in claim.setting.inputs.values():
            for y in (trial.declared(x), trial.varied(x)):
                if y is not None and VOCABULARY.contradiction(y.properties):
                    return None
        if _differs_at_once(claim, trial):
            return None
        judgement = judged(claim, trial, rough=6, precise=1)
        if judgement.level is not Level.FAILS:
            judgement = judged(claim, trial)
    except MbpError:
        return None
    if judgement.level is Level.FAILS or (judgement.vanishes and _empties(claim, conditions)):
        return None
    return judgement


def _empties(claim: Claim, conditions: tuple[Condition, ...]) -> bool:
    """Whether conditions under which the truth vanishes leave nothing of the claim.

    That it vanishes may be the claim itself; then a pattern of zeros is still no answer.
    """
    patterns = any(isinstance(c, Varies) or (isinstance(c, Has) and c.prop in _PATTERNS)
                   for c in conditions)  # fmt: skip
    return patterns or not is_zero(claim.formula)


def _differs_at_once(claim: Claim, trial: Trial) -> bool:
    """Whether the first instance refutes the claim, without the cost of 50 digits if plainly."""
    for seed in range(4):
        here = outcome(claim, trial, sample(claim, trial, seed, FLOAT64))
        if here.status is Status.DIFFERS:
            return here.error > 1e-3 or precisely(claim, trial, seed).status is Status.DIFFERS
        if here.status is not Status.UNDEFINED:
            return False
    return False
