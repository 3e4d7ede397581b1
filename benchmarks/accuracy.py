"""Measures how exact gradients are where the spectrum degenerates; writes docs/accuracy.md.

Run as `python -m benchmarks.accuracy`; it takes a few minutes, nearly all of them for the
50-digit reference.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import sympy as sp
import torch
from torch import Tensor

import mbp
from benchmarks import exact, routes
from benchmarks.exact import Pooling, x
from benchmarks.routes import Gradient
from mbp.layers import o2p, o2p_eig, o2p_svd, projector
from mbp.rulebook import RULEBOOK

EPS = 1e-3
DTYPES = (torch.float64, torch.float32)
LOG = sp.log(x)
FUNCTIONS = {
    "log": LOG,
    "sqrt": sp.sqrt(x),
    **{
        f"x^{p}": x ** sp.Rational(p)
        for p in ("0.1", "0.2", "0.3", "0.4", "0.6", "0.7", "0.8", "0.9")
    },
    "exp": sp.exp(x),
    "1/x": 1 / x,
}
DOCUMENT = Path(__file__).parents[1] / "docs" / "accuracy.md"


# --- matrices ------------------------------------------------------------------------------------


def orthonormal(m: int, n: int) -> Tensor:
    """m×n with orthonormal columns."""
    return torch.linalg.qr(torch.randn(m, n, dtype=torch.float64))[0]


def with_singular_values(s: Tensor, m: int) -> Tensor:
    """m×n with the n given singular values."""
    n = len(s)
    return (orthonormal(m, n) * s) @ orthonormal(n, n).T


def hadamard(n: int) -> Tensor:
    """The n×n Hadamard matrix of ±1, n a power of two."""
    H = torch.ones(1, 1, dtype=torch.float64)
    while len(H) < n:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H


def fourfold(n: int) -> Tensor:
    """Four values, each n/4 times."""
    return torch.tensor([2, 1.5, 1, 0.5], dtype=torch.float64).repeat_interleave(n // 4)


def repeated(m: int, n: int) -> Tensor:
    """m×n with four n/4-fold singular values, exactly: every entry is a binary fraction."""
    H = hadamard(n)
    s = fourfold(n)
    stacked = torch.cat([H] * (m // n) + [torch.zeros(m % n, n, dtype=torch.float64)])
    return stacked * s @ H / n


def regimes(m: int, n: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """F in the ways in which its spectrum may degenerate, rounded to dtype."""
    s = fourfold(n)
    r = 5 * n // 16
    rank_r = torch.randn(m, r, dtype=torch.float64) @ torch.randn(r, n, dtype=torch.float64)
    found = {
        "a": torch.randn(m, n, dtype=torch.float64),
        "a2": with_singular_values(torch.logspace(1, -3, n, dtype=torch.float64), m),
        "b": repeated(m, n),
        "b′": with_singular_values(s, m),
        "c": rank_r / math.sqrt(r),
        "w": torch.randn(r, n, dtype=torch.float64),
    }
    return {name: F.to(dtype).double() for name, F in found.items()}


# --- methods -------------------------------------------------------------------------------------


def emitted(layer: mbp.Layer, *constants: float) -> Gradient:
    """The gradient that the layer's generated module gives."""
    function = getattr(layer.compile(), layer.name)
    return routes.differentiated(lambda F: function(F, *constants))


def by_eigenvalues(g: sp.Expr) -> mbp.Layer:
    """g(FᵀF + εI) as a user writes it."""
    text = f"matfun('{g}', F.T @ F + eps * eye(d))"
    return mbp.Layer.from_text(text, F="m d", eps="scalar positive constant")


def by_singular_values(g: sp.Expr) -> mbp.Layer:
    """g(FᵀF + εI) = V g(SᵀS + εI) Vᵀ."""

    @mbp.layer(F="m d", eps="scalar positive constant")
    def pooled(F, eps):  # type: ignore[no-untyped-def]
        _, S, V = RULEBOOK.call("svd", F)
        return V @ mbp.matfun(str(g), S.T @ S + eps * mbp.eye("d")) @ V.T

    return pooled


def logarithms() -> dict[str, Gradient]:
    """Every way to the gradient of the logarithm."""
    return {
        "paper, SVD route": routes.paper_svd(LOG, EPS),
        "paper, EIG route": routes.paper_eig(LOG, EPS),
        "autograd through `eigh`": routes.through_eigh(LOG, EPS),
        "autograd through `svd`": routes.through_svd(LOG, EPS),
        **routes.packages(LOG, EPS),
        "`o2p_eig`": emitted(o2p_eig, EPS),
        "`o2p_svd`": emitted(o2p_svd, EPS),
        "`o2p`": emitted(o2p, EPS),
    }


# --- tables --------------------------------------------------------------------------------------


def measured(
    gradient: Gradient, F: Tensor, G: Tensor, reference: object, dtype: torch.dtype
) -> str:
    """The relative error as one figure, `nan`, or what was raised."""
    try:
        actual = gradient(F.to(dtype), G.to(dtype))
    except RuntimeError:
        return "raises"
    return figure(exact.error(actual, reference))


def figure(error: float) -> str:
    """One digit and an exponent."""
    return "nan" if math.isnan(error) else f"{error:.0e}".replace("e-0", "e-").replace("e+0", "e")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = tuple(head)
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def both_precisions(
    problems: Mapping[str, Mapping[torch.dtype, Tensor]],
    methods: Mapping[str, Gradient],
    g: sp.Expr,
) -> str:
    """Errors as `float64 / float32`, a method a row and a problem a column."""
    cells: dict[tuple[str, str], list[str]] = {}
    for problem, forms in problems.items():
        solved: dict[tuple[object, ...], object] = {}
        for dtype in DTYPES:
            F = forms[dtype]
            G = cotangent(F.shape[-1])
            key = tuple(F.flatten().tolist())
            if key not in solved:
                solved[key] = Pooling(F, EPS).gradient(g, G)
            for name, gradient in methods.items():
                error = measured(gradient, F, G, solved[key], dtype)
                cells.setdefault((name, problem), []).append(error)
        note(problem)
    rows = ((name, *(" / ".join(cells[name, p]) for p in problems)) for name in methods)
    return table(("method", *problems), rows)


def cotangent(n: int) -> Tensor:
    """A fixed Gaussian G, the same in both precisions."""
    return torch.randn(n, n, generator=torch.Generator().manual_seed(n)).double()


def pooling_table(methods: Mapping[str, Gradient]) -> str:
    """The logarithm at 196×64 in every regime."""
    double, single = (regimes(196, 64, dtype) for dtype in DTYPES)
    # Only where the repeats, or the rank, stand in the last digit does F differ by precision.
    problems = {
        name: {
            torch.float64: double[name] if name in ("b′", "c") else single[name],
            torch.float32: single[name],
        }
        for name in single
    }
    return both_precisions(problems, methods, LOG)


def scale_table(methods: Mapping[str, Gradient]) -> str:
    """The logarithm at scales far from that of ε, and where float32 has integers only."""
    F = torch.randn(60, 16).double()
    tied = repeated(60, 16)
    near = with_singular_values(4096 * (1 + torch.arange(16, dtype=torch.float64) * 2**-22), 60)
    problems = {"F·1e4": F * 1e4, "F·1e-4": F * 1e-4, "b·1e4": tied * 1e4, "b·1e-4": tied * 1e-4,
                "λ ≈ 2²⁴": near}  # fmt: skip
    rounded = {name: X.float().double() for name, X in problems.items()}
    return both_precisions({name: dict.fromkeys(DTYPES, X) for name, X in rounded.items()},
                           methods, LOG)  # fmt: skip


def gap_table(methods: Mapping[str, Gradient]) -> str:
    """The logarithm with pairs of eigenvalues at a relative distance."""
    problems = {}
    for k in (3, 5, 7, 9, 10, 11, 12, 13, 14):
        lam = torch.tensor([4.0, 1.0, 0.25, 0.0625]).double().repeat_interleave(4)
        lam = lam * (1 + 10.0**-k * torch.arange(4).repeat(4))
        F = with_singular_values(lam.sqrt(), 60)
        problems[f"1e-{k}"] = {torch.float64: F, torch.float32: F.float().double()}
    return both_precisions(problems, methods, LOG)


def function_table() -> str:
    """Every function at 48×16 in every regime."""
    problems = {dtype: regimes(48, 16, dtype) for dtype in DTYPES}
    rows: list[tuple[str, ...]] = []
    for name, g in FUNCTIONS.items():
        ways = {
            "eigenvalues": emitted(by_eigenvalues(g), EPS),
            "singular values": emitted(by_singular_values(g), EPS),
            "autograd, `eigh`": routes.through_eigh(g, EPS),
            **routes.packages(g, EPS),
        }
        cells: dict[str, list[str]] = {}
        for regime in problems[torch.float64]:
            pair: dict[str, list[str]] = {}
            for dtype in DTYPES:
                F = problems[dtype][regime] / (4 if name == "exp" else 1)
                G, pooling = cotangent(F.shape[-1]), Pooling(F, EPS)
                reference = pooling.gradient(g, G)
                for route, gradient in ways.items():
                    pair.setdefault(route, []).append(measured(gradient, F, G, reference, dtype))
                moved = pooling.sensitivity(g, G) * torch.finfo(dtype).eps / 2
                pair.setdefault("*F rounded*", []).append(figure(moved))
            for route, errors in pair.items():
                cells.setdefault(route, []).append(" / ".join(errors))
        rows += [(name, route, *errors) for route, errors in cells.items()]
        note(name)
    return table(("function", "route", *problems[torch.float64]), rows)


def projector_table() -> str:
    """The projector onto the range of a symmetric 32×32 matrix, its null space exact."""

    def symmetric(values: list[float]) -> Tensor:
        B = torch.round(8 * torch.randn(32, len(values))).double() / 8
        return B * torch.tensor(values, dtype=torch.float64) @ B.T

    tied = hadamard(32)[:, :12]
    problems = {
        "rank 12": symmetric([1.0, -2.0, 3.0] * 4),
        "rank 1": symmetric([1.0]),
        "rank 31": symmetric([1.0, -1.0] * 15 + [1.0]),
        "12-fold": tied @ tied.T,
        "1 to 2⁻¹⁰": symmetric([2.0**-k for k in range(11)]),
        "×2¹³": symmetric([2.0**13] * 12),
        "×2⁻¹³": symmetric([2.0**-13] * 12),
    }
    methods = {
        "`projector`": routes.differentiated(projector.compile().projector),
        "autograd, `pinv`": routes.differentiated(lambda A: A @ torch.linalg.pinv(A)),
        "autograd, hermitian `pinv`": routes.differentiated(
            lambda A: A @ torch.linalg.pinv(A, hermitian=True)),
    }  # fmt: skip
    cells: dict[str, list[str]] = {}
    for A in problems.values():
        G = cotangent(32)
        reference = exact.projector_gradient(A, G)
        for name, gradient in methods.items():
            errors = (
                measured(lambda A, G: symmetrised(gradient(A, G)), A, G, reference, dtype)  # noqa: B023
                for dtype in DTYPES
            )
            cells.setdefault(name, []).append(" / ".join(errors))
    return table(("method", *problems), ((name, *errors) for name, errors in cells.items()))


def symmetrised(M: Tensor) -> Tensor:
    """The projected gradient in a symmetric matrix."""
    return (M + M.mT) / 2


# --- the document --------------------------------------------------------------------------------

TEXT = """# How exact the gradients are

Written by `python -m benchmarks.accuracy`; do not edit. PyTorch {torch}, {packages}.

Every figure is ‖g − g\\*‖ / ‖g\\*‖ for the gradient g of G : g(FᵀF + εI) in F, with ε = 1e-3 and a
Gaussian G that is not symmetric. g\\* is computed in 50 digits by mpmath, from the same binary
fractions F. `nan` is a gradient that is not finite. Where two figures stand, they are
float64 / float32.

| regime | F |
| --- | --- |
| a | Gaussian |
| a2 | singular values from 10 down to 1e-3 |
| b | four singular values, each repeated exactly |
| b′ | the same up to rounding |
| c | a rank of 5/16 of the columns, up to rounding |
| w | wide, Gaussian |

## log, F 196×64 (w: 20×64)

{pooling}

The eigenvalues of FᵀF carry an error of the largest eigenvalue times the unit roundoff, beside
the smallest, which is near ε in a2, c and w. The squares of F's singular values carry less: that is
what `o2p_svd` is for. `o2p` takes the faster route: the eigenvalues of FᵀF, or where F is wide
those of FFᵀ, among which the zeros of FᵀF are not.

## log, F 60×16: scales

{scales}

## log, F 60×16: four groups of four eigenvalues at relative gaps

{gaps}

## Functions, F 48×16 (w: 5×16); exp at F/4

`eigenvalues` is the layer as a user writes it, `singular values` the layer that takes S and V from
the SVD of F. *F rounded* is how far the exact gradient itself moves when the entries of F are
moved by half a unit in the last place: no method can be asked for less.

{functions}

## Projector onto the range of a symmetric 32×32 matrix

The null space is exact; gradients are projected onto symmetric matrices.

{projector}
"""


def note(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def document() -> str:
    """The whole of docs/accuracy.md."""
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    methods = logarithms()
    installed = [f"{name} {importlib.metadata.version(name)}" for name in ("spd_learn", "torchspd")
                 if name in methods]  # fmt: skip
    return TEXT.format(
        torch=importlib.metadata.version("torch").split("+")[0],
        packages=", ".join(installed) or "spd_learn and torchspd not installed",
        pooling=pooling_table(methods),
        scales=scale_table(methods),
        gaps=gap_table(methods),
        functions=function_table(),
        projector=projector_table(),
    )


def main() -> None:
    """Measures, and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", type=Path, default=DOCUMENT, metavar="FILE", help="where to write")
    path = parser.parse_args().o
    path.write_text(document())
    note(f"wrote {path}")


if __name__ == "__main__":
    main()
