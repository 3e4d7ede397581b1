"""Prints programs as PyTorch: one formula a line, each value's text from its operation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from mbp.emit.torch_scalars import (
    ATOM,
    FUNCTIONS,
    POWER,
    SUM,
    TERM,
    UNARY,
    Piece,
    number_piece,
    scalar_piece,
    within,
)
from mbp.errors import MbpError
from mbp.expr.dims import ONE, Dim
from mbp.plan.program import Program
from mbp.plan.value import Form, Value

_WIDTH = 80

_PARTS = {
    "sym": "_sym({})",
    "skew": "_skew({})",
    "lower": "torch.tril({})",
    "strictly_lower": "torch.tril({}, -1)",
    "upper": "torch.triu({})",
    "strictly_upper": "torch.triu({}, 1)",
    "diag": "torch.tril(torch.triu({}))",
}

_CALLS = {
    "cholesky": "_cholesky({})",
    "lu_factor": "torch.linalg.lu_factor_ex({})",
    "eigh": "_each(torch.linalg.eigh, {})",
    "svd_frame": "_svd_frame({})",
    "det": "torch.linalg.det({})[..., None, None]",
    "logdet": "torch.linalg.slogdet({})[1][..., None, None]",
    "inverse": "torch.linalg.inv({})",
    "kron": "_kron({})",
    "kron_left": "_kron_left({})",
    "kron_right": "_kron_right({})",
    "with_diagonal": "_with_diagonal({}, on_tie)",
}

_COUNTS = {"eigh": 2, "lu_factor": 3, "svd_frame": 3}

_ISOLATED = ("eigh", "svd", "qr", "pinv")

_TRANSPARENT = ("as_column", "as_diagonal")


@dataclass(frozen=True)
class _Block:
    """Some lines and the names that they define."""

    targets: tuple[str, ...]
    lines: tuple[str, ...]


class Names:
    """Names of values, none twice; a function's own names start from a copy of the module's."""

    def __init__(self, taken: Iterable[str] = (), hints: Mapping[Value, str] | None = None) -> None:
        self._taken = set(taken)
        self._hints = dict(hints or {})
        self._names: dict[Value, str] = {}

    def copy(self) -> Names:
        """A copy that grows on its own."""
        other = Names(self._taken, self._hints)
        other._names = dict(self._names)
        return other

    def name(self, value: Value) -> str:
        """The value's name, chosen on first use."""
        if value not in self._names:
            self._names[value] = self._free(self._hints.get(value) or _wish(value))
        return self._names[value]

    def give(self, value: Value, name: str) -> None:
        """Names a value that has no name yet."""
        self._names.setdefault(value, name)
        self._taken.add(name)

    def reserve(self, name: str) -> None:
        """Keeps a name from being chosen for anything else."""
        self._taken.add(name)

    def _free(self, wish: str) -> str:
        numbered = wish in ("T", "c", "v")
        name, count = (f"{wish}1" if numbered else wish), 1
        while name in self._taken:
            count += 1
            name = f"{wish}_{count}" if wish[-1].isdigit() else f"{wish}{count}"
        self._taken.add(name)
        return name


def _wish(value: Value) -> str:
    match value.op:
        case "item" if len(value.data) > 1:
            return str(value.data[1])
        case "item" if value.args[0].op == "eigh":
            return "qU"[value.data[0]]
        case "item":
            return ("LU", "pivots")[value.data[0]]
        case "cholesky":
            return "R"
        case "with_diagonal" | "gap_kernel":
            return "K"
        case "entrywise" if value.rows == value.cols != ONE:
            return "L"
        case "nonnegative":
            return "lam"
        case "add" if value.form is Form.DIAGONAL and any(
            arg.op in ("nonnegative", "column") for arg in value.args
        ):
            return "lam"
    if value.is_scalar:
        return "c"
    return "v" if value.cols == ONE or value.form is Form.DIAGONAL else "T"


class Body:
    """The lines of one function, printed from a program.

    `known` are the values that the function is given; `reference` is the tensor whose dtype,
    device and batch new tensors take, of `order` dimensions without the batch; `dims` is where
    a dimension can be read: (tensor's name, axis).
    """

    def __init__(
        self,
        names: Names,
        known: Iterable[Value],
        reference: str,
        order: int,
        dims: Mapping[sp.Symbol, tuple[str, int]],
    ) -> None:
        self.names = names
        self._blocks: list[_Block] = []
        self._known = set(known)
        self._reference = reference
        self._reference_order = order
        self._dims = dims
        self._used_dims: set[sp.Symbol] = set()
        self._uses: Counter[Value] = Counter()
        self._pieces: dict[Value, Piece] = {}
        self._wishes: dict[Value, str] = {}
        self._functions: dict[str, str] = {}

    def print(
        self,
        program: Program,
        wishes: Mapping[str, str],
        keep: Iterable[Value] = (),
        zeros_like: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Prints the results, under the names wished, and the values to keep; returns the texts.

        `zeros_like` names, for a result, a tensor of its shape.
        """
        self._uses = Counter(arg for v in program.values for arg in dict.fromkeys(v.args))
        self._wishes = {value: wishes[name] for name, value in program.results.items()}
        kept = set(keep)
        items: dict[Value, dict[int, Value]] = {}
        for value in program.values:
            if value.op == "item":
                items.setdefault(value.args[0], {})[value.data[0]] = value
        for value in program.values:
            if value in self._known:
                continue
            if value.op == "item":
                self._unpack(value.args[0], items[value.args[0]])
            elif value.op == "zeros":
                continue  # printed where it is returned
            elif (
                value in self._wishes
                or value in kept
                or (self._uses[value] > 1 and not self._is_cheap(value))
            ):
                self._assign(value)
        returned: list[str] = []
        for result, value in program.results.items():
            if value.op == "zeros":
                returned.append(self._zeros(value, (zeros_like or {}).get(result)))
                continue
            text = self._piece(value)[0]
            # An output is a tensor of its own: neither an input nor another output.
            returned.append(f"{text}.clone()" if value.op == "input" or text in returned else text)
        return returned

    def _zeros(self, value: Value, like: str | None) -> str:
        if like is not None:
            return f"torch.zeros_like({like})"
        sides = [value.rows, value.cols]
        if value.form is Form.RAW:
            sides = [n for n in sides[:1] if not value.is_scalar]
        batch = (
            f"{self._reference}.shape[:{-self._reference_order}]" if self._reference_order else ""
        )
        batch = batch or f"{self._reference}.shape"
        sizes = "".join(f", {self._dim(n)}" for n in sides)
        return f"{self._reference}.new_zeros((*{batch}{sizes}))"

    def lines(self, tail: str) -> list[str]:
        """All lines, with `tail` at the end, but for what nothing uses."""
        used = set(re.findall(r"\w+", tail))
        kept: list[_Block] = []
        for block in reversed(self._blocks):
            if used.intersection(block.targets):
                kept.append(block)
                used.update(re.findall(r"\w+", "\n".join(block.lines)))
        body = [line for block in reversed(kept) for line in block.lines]
        return [*self._dim_lines(used), *body, tail]

    def _dim_lines(self, used: set[str]) -> list[str]:
        lines = []
        for n in sorted(self._used_dims, key=lambda n: str(n.name)):
            if n.name not in used:
                continue
            name, axis = self._dims[n]
            lines.append(f"{n.name} = {name}.shape[{axis}]")
        return lines

    def _is_cheap(self, value: Value) -> bool:
        if value.op in _TRANSPARENT or value.form is Form.CALL:
            return True
        if value.op == "transpose":
            return self._is_named(value.args[0])
        if value.op == "scale" and value.is_scalar:
            return value.args[0].op == "number"
        return value.op in ("number", "size", "ones", "zeros", "input")

    def _is_named(self, value: Value) -> bool:
        if value.op in _TRANSPARENT:
            return self._is_named(value.args[0])
        return value in self._known or value.op == "input" or self._uses[value] > 1

    def _assign(self, value: Value) -> None:
        text = self._piece_of(value)[0]
        name = self._name(value)
        if value.op == "add" and len(name) + len(text) > _WIDTH + 4:
            signed = self._in_order(value.args)
            terms = [f"{'-' if minus else '+'} {within(piece, TERM)}" for minus, piece in signed]
            terms[0] = terms[0].removeprefix("+ ")
            lines = (f"{name} = (", *(f"    {term}" for term in terms), ")")
            self._blocks.append(_Block((name,), lines))
        elif text != name:
            self._blocks.append(_Block((name,), (f"{name} = {text}",)))
        self._known.add(value)
        self._pieces.clear()

    def _name(self, value: Value) -> str:
        if value in self._wishes:
            self.names.give(value, self._wishes[value])
        return self.names.name(value)

    def _unpack(self, call: Value, items: Mapping[int, Value]) -> None:
        count = _COUNTS.get(call.op) or call.data[2]
        text = self._piece_of(call)[0]
        targets = [self._name(items[k]) if k in items else "_" for k in range(count)]
        self._blocks.append(_Block(tuple(targets), (f"{', '.join(targets)} = {text}",)))
        self._known.update(items.values())
        self._pieces.clear()

    # --- texts ------------------------------------------------------------------------------

    def _piece(self, value: Value) -> Piece:
        if value in self._known and value.op != "input":
            return self.names.name(value), ATOM
        if value not in self._pieces:
            self._pieces[value] = self._piece_of(value)
        return self._pieces[value]

    def _text(self, value: Value) -> str:
        return self._piece(value)[0]

    def _is_line(self, value: Value) -> bool:
        return value in self._known and value.op != "input"

    def _named(self, value: Value) -> str:
        """The value as a text that binds like a name, on a line of its own if it is none."""
        if value.op in _TRANSPARENT:
            return self._named(value.args[0])
        text, strength = self._piece(value)
        if strength == ATOM and re.fullmatch(r"[\w.]+", text):
            return text
        self._assign(value)
        return self.names.name(value)

    def _piece_of(self, value: Value) -> Piece:
        piece = self._print(value)
        while len(piece[0]) > _WIDTH:
            longest = self._longest(value)
            if longest is None:
                break
            self._assign(longest)
            piece = self._print(value)
        return piece

    def _longest(self, value: Value) -> Value | None:
        """The longest operand, or operand's operand, that can go on a line of its own."""
        candidates: dict[Value, int] = {}
        stack = [value]
        while stack:
            for arg in stack.pop().args:
                if self._is_line(arg) or arg.form is Form.CALL:
                    continue
                if arg.op in _TRANSPARENT:
                    stack.append(arg)
                    continue
                text = self._text(arg)
                plain = arg.op in ("number", "size", "transpose")
                if not plain and not re.fullmatch(r"[\w.]+", text):
                    candidates[arg] = len(text)
        return max(candidates, key=lambda arg: candidates[arg], default=None)

    def _dim(self, n: Dim) -> str:
        for symbol in n.free_symbols:
            if symbol not in self._dims:
                raise MbpError(f"no input shows how large {symbol} is")
            self._used_dims.add(symbol)
        return str(n)

    def _like(self) -> str:
        return f"dtype={self._reference}.dtype, device={self._reference}.device"

    def _print(self, value: Value) -> Piece:
        op, args, data = value.op, value.args, value.data
        if op in _TRANSPARENT:
            return self._piece(args[0])
        if op in _CALLS:
            return _CALLS[op].format(", ".join(self._text(arg) for arg in args)), ATOM
        match op:
            case "input":
                return str(data[0]), ATOM
            case "number":
                return number_piece(data[0])
            case "size":
                text = self._dim(data[0])
                return text, ATOM if text.isalnum() else SUM
            case "ones" | "zeros":
                cols = ONE if value.form is Form.DIAGONAL else value.cols
                sizes = f"{self._dim(value.rows)}, {self._dim(cols)}"
                return f"{self._reference}.new_{op}({sizes})", ATOM
            case "eye":
                return f"torch.eye({self._dim(value.rows)}, {self._like()})", ATOM
            case "indices":
                return f"torch.arange({self._dim(value.rows)}, {self._like()})[:, None]", ATOM
            case "column":
                extra = "..., None, None" if value.is_scalar else "..., None"
                return f"{self._named(args[0])}[{extra}]", ATOM
            case "vector":
                return f"{within(self._piece(args[0]), ATOM)}[..., 0]", ATOM
            case "scalar":
                return self._scalar(args[0])
            case "embed":
                return f"torch.diag_embed({within(self._piece(args[0]), ATOM)}[..., 0])", ATOM
            case "diagonal":
                return f"torch.diagonal({self._text(args[0])}, dim1=-2, dim2=-1)[..., None]", ATOM
            case "transpose":
                return f"{within(self._piece(args[0]), ATOM)}.mT", ATOM
            case "nonnegative":
                return f"{within(self._piece(args[0]), ATOM)}.clamp_min(0)", ATOM
            case "scale":
                return self._scale(args[0], args[1])
            case "add":
                return self._add(args)
            case "multiply":
                return self._multiply(args)
            case "matmul":
                left, right = (self._piece(arg) for arg in args)
                return f"{within(left, TERM)} @ {within(right, UNARY)}", TERM
            case "scale_rows" | "outer":
                return self._multiply(args)
            case "scale_cols":
                turned = within(self._piece(args[1]), ATOM)
                return f"{within(self._piece(args[0]), TERM)} * {turned}.mT", TERM
            case "row_sum":
                return f"{within(self._piece(args[0]), ATOM)}.sum(-1, keepdim=True)", ATOM
            case "sum":
                return self._sum(args[0])
            case "product_of":
                return f"{within(self._piece(args[0]), ATOM)}.prod(-2, keepdim=True)", ATOM
            case "power":
                return self._power(args[0], args[1])
            case "map":
                A = self._text(args[0])
                if args[0].form is Form.NUMBER:
                    A = f"torch.as_tensor({A}, {self._like()})"
                return FUNCTIONS[data[0]].format(A), ATOM
            case "part":
                return _PARTS[data[0]].format(self._text(args[0])), ATOM
            case "stack":
                blocks = ", ".join(self._text(arg) for arg in args)
                return f"_joined({blocks}, dim={-1 if data[0] == 1 else -2})", ATOM
            case "vec":
                return f"{within(self._piece(args[0]), ATOM)}.mT.flatten(-2, -1)[..., None]", ATOM
            case "unvec":
                x = within(self._piece(args[0]), ATOM)
                sizes = f"({self._dim(value.cols)}, {self._dim(value.rows)})"
                return f"{x}[..., 0].unflatten(-1, {sizes}).mT", ATOM
            case "call":
                return self._call(value)
            case "largest":
                return (
                    f"{within(self._piece(args[0]), ATOM)}.abs().amax((-2, -1), keepdim=True)",
                    ATOM,
                )
            case "gap_kernel" | "over_gaps":
                return self._over_gaps(value), ATOM
            case "cholesky_solve":
                factor, B = args
                return f"torch.cholesky_solve({self._text(B)}, {self._text(factor)})", ATOM
            case "lu_solve":
                inside = ", ".join(self._text(arg) for arg in args)
                tail = ", adjoint=True" if data[0] else ""
                return f"torch.linalg.lu_solve({inside}{tail})", ATOM
            case "triangular_solve":
                return self._triangular_solve(args[0], args[1], *data), ATOM
            case "entrywise":
                return self._entrywise(value)
            case "paths":
                return self._paths(value)
        raise MbpError(f"the torch target cannot print {op}")

    def _over_gaps(self, value: Value) -> str:
        if value.op == "gap_kernel":
            gaps, *rest = value.args
            words = [
                f"torch.ones_like({self._named(gaps)})",
                *map(self._text, (gaps, *rest)),
                "1.0",
            ]
        else:
            words = [self._text(arg) for arg in value.args]
        beside = words[5] if len(words) > 5 else "0.0"
        return f"_over_gaps({', '.join([*words[:5], beside])}, on_tie)"

    def _triangular_solve(self, A: Value, B: Value, side: str, transposed: bool) -> str:
        triangle = f"{within(self._piece(A), ATOM)}.mT" if transposed else self._text(A)
        upper = (side == "upper") != transposed
        return f"torch.linalg.solve_triangular({triangle}, {self._text(B)}, upper={upper})"

    def _scalar(self, v: Value) -> Piece:
        if v.form is Form.NUMBER:
            return f"torch.as_tensor({self._text(v)}, {self._like()})", ATOM
        return f"{within(self._piece(v), ATOM)}[..., 0, 0]", ATOM

    def _scale(self, c: Value, X: Value) -> Piece:
        X_piece = self._piece(X)
        if c.op == "number":
            number = c.data[0]
            if number == -1:
                return f"-{within(X_piece, POWER)}", UNARY
            if number < 0 and number.is_Rational and number.p == -1:
                return f"-{within(X_piece, POWER)} / {number.q}", TERM
            if number < 0:
                return f"-{self._scaled(-number, X_piece)[0]}", TERM
            return self._scaled(number, X_piece)
        if c.op == "power" and c.args[1].op == "number" and c.args[1].data[0] == -1:
            return f"{within(X_piece, TERM)} / {within(self._piece(c.args[0]), UNARY)}", TERM
        if c.op == "scale" and c.args[0].op == "number" and c.args[0].data[0] == -1:
            text, _ = self._scale_by(self._piece(c.args[1]), X_piece)
            return f"-{text}", TERM
        return self._scale_by(self._piece(c), X_piece)

    def _scaled(self, number: sp.Expr, X: Piece) -> Piece:
        """A positive number times X."""
        if number == 1:
            return X
        if number.is_Rational and number.p == 1:
            return f"{within(X, TERM)} / {number.q}", TERM
        return self._scale_by(number_piece(number), X)

    def _scale_by(self, c: Piece, X: Piece) -> Piece:
        return f"{within(c, TERM)} * {within(X, UNARY)}", TERM

    def _add(self, terms: tuple[Value, ...]) -> Piece:
        signed = self._in_order(terms)
        text = f"-{within(signed[0][1], POWER)}" if signed[0][0] else within(signed[0][1], TERM)
        for negative, piece in signed[1:]:
            text += f" {'-' if negative else '+'} {within(piece, TERM)}"
        return text, SUM

    def _in_order(self, terms: tuple[Value, ...]) -> list[tuple[bool, Piece]]:
        # A positive term comes first, the others as they are.
        signed = [self._signed(term) for term in terms]
        first = next((k for k, (negative, _) in enumerate(signed) if not negative), 0)
        return [signed[first], *signed[:first], *signed[first + 1 :]]

    def _signed(self, term: Value) -> tuple[bool, Piece]:
        """Whether the term is subtracted, and what is."""
        if term.op == "scale" and not self._is_line(term):
            c, X = term.args
            if c.op == "number" and c.data[0] < 0:
                return True, self._scaled(-c.data[0], self._piece(X))
            inner = c.op == "scale" and not self._is_line(c) and c.args[0].op == "number"
            if inner and c.args[0].data[0] < 0:
                front = self._scaled(-c.args[0].data[0], self._piece(c.args[1]))
                return True, self._scale_by(front, self._piece(X))
        return False, self._piece(term)

    def _multiply(self, factors: tuple[Value, ...]) -> Piece:
        above, below = [], []
        for factor in factors:
            p = factor.args[1] if factor.op == "power" and not self._is_line(factor) else None
            if p is not None and p.op == "number" and p.data[0] == -1:
                below.append(within(self._piece(factor.args[0]), UNARY))
            else:
                above.append(factor)
        if not above:
            return f"1 / ({' * '.join(below)})", TERM
        words = [within(self._piece(above[0]), TERM)]
        words += [within(self._piece(factor), UNARY) for factor in above[1:]]
        return " / ".join([" * ".join(words), *below]), TERM

    def _sum(self, A: Value) -> Piece:
        axes = "-2" if A.cols == ONE else "(-2, -1)"
        is_square = A.op == "multiply" and len(A.args) == 2 and A.args[0] is A.args[1]
        if is_square and not self._is_line(A):
            A_text = within(self._piece(A.args[0]), ATOM) + ".square()"
        else:
            A_text = within(self._piece(A), ATOM)
        return f"{A_text}.sum({axes}, keepdim=True)", ATOM

    def _power(self, A: Value, p: Value) -> Piece:
        piece = self._piece(A)
        if p.op == "number" and A.form is not Form.NUMBER:
            exponent = sp.sympify(p.data[0])
            if exponent == sp.Rational(1, 2):
                return f"torch.sqrt({piece[0]})", ATOM
            if exponent == -sp.Rational(1, 2):
                return f"torch.rsqrt({piece[0]})", ATOM
            if exponent == -1:
                return f"1 / {within(piece, UNARY)}", TERM
        return f"{within(piece, ATOM)} ** {within(self._piece(p), UNARY)}", POWER

    def _call(self, value: Value) -> Piece:
        function, options, _ = value.data
        words = [self._text(arg) for arg in value.args]
        words += [f"{key}={option}" for key, option in options]
        if function == "torch.linalg.pinv" and ("hermitian", "True") not in options:
            return f"_each(_pinv, {', '.join(words)})", ATOM
        if function == "torch.linalg.cholesky":
            return f"_cholesky({', '.join(words)})", ATOM
        if function.startswith("torch.linalg.") and function.split(".")[-1] in _ISOLATED:
            return f"_each({', '.join([function, *words])})", ATOM
        return f"{function}({', '.join(words)})", ATOM

    def _entrywise(self, value: Value) -> Piece:
        g, symbols = value.data
        names = {s: self._named_or_turned(arg) for s, arg in zip(symbols, value.args, strict=True)}
        piece = scalar_piece(g, names)
        if not value.args:
            return f"torch.as_tensor({piece[0]}, {self._like()})", ATOM
        return piece

    def _named_or_turned(self, value: Value) -> str:
        if value.op == "transpose":
            return f"{self._named(value.args[0])}.mT"
        return self._named(value)

    def _paths(self, value: Value) -> Piece:
        kernel, parameters = value.data
        names = {s: self._named(arg) for s, arg in zip(parameters, value.args[3:], strict=True)}
        body = scalar_piece(kernel, names)[0]
        lam, A, B = (self._named(arg) for arg in value.args[:3])
        if body not in self._functions:
            name = f"divided{len(self._functions) + 1 if self._functions else ''}"
            self._functions[body] = name
            head = f"def {name}(x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:"
            inside = (f"    {line}" for line in _body(kernel, names))
            self._blocks.append(_Block((name,), ("", head, *inside, "")))
        return f"_paths({self._functions[body]}, {lam}, {A}, {B})", ATOM


def _body(g: sp.Expr, names: Mapping[sp.Symbol, str]) -> list[str]:
    """The lines that return g, what occurs in it more than once first."""
    if g.has(sp.Lambda):
        return _broken(f"return {scalar_piece(g, names)[0]}")
    repeated, (rest,) = sp.cse(g, sp.numbered_symbols("r", start=1))
    lines = [f"{name} = {scalar_piece(part, names)[0]}" for name, part in repeated]
    return [*lines, f"return {scalar_piece(rest, names)[0]}"]


def _broken(line: str) -> list[str]:
    """`line`, the arguments of the one call that it is on lines of their own if it is too long."""
    call = re.match(r"return \w+\(", line)
    if len(line) <= _WIDTH or call is None:
        return [line]
    depth, start, pieces = 1, call.end(), []
    for k in range(call.end(), len(line)):
        depth += (line[k] == "(") - (line[k] == ")")
        in_lambda = line[start:k].lstrip().startswith("lambda") and ":" not in line[start:k]
        if depth == 0 and k < len(line) - 1:
            return [line]  # the call is only a part of it
        if depth == 0 or (line[k] == "," and depth == 1 and not in_lambda):
            pieces.append(line[start:k].strip())
            start = k + 1
    return [line[: call.end()], *(f"    {piece}," for piece in pieces), ")"]
