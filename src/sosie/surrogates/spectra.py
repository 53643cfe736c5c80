"""Monotone maps between a normal variable and a standardised one, tabulated and interpolated."""

import torch
from torch import Tensor, nn

REACH = 4.0  # of the normal variable
KNOTS = 65
LEAST = 50  # values behind a row of the table


def normal_quantile(below: Tensor, above: Tensor) -> Tensor:
    """The normal variable with these probabilities below and above it, of which the smaller counts."""
    tail = torch.minimum(below, above).clamp_min(1e-7).double()
    quantile = -torch.erfinv(1 - 2 * tail).float() * 2**0.5
    return torch.where(below < above, quantile, -quantile)


def above(normal: Tensor) -> Tensor:
    """The probability above a normal variable."""
    return 0.5 * torch.erfc(normal * 0.5**0.5)


class Spectra(nn.Module):
    """Laws of a standardised variable as functions of two coordinates: tables at nodes, linear between.

    A row holds the quantiles that belong to equidistant values of a normal variable from -4 to 4;
    beyond them the law ends.
    """

    first: Tensor
    second: Tensor
    table: Tensor

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.register_buffer("first", torch.arange(first, dtype=torch.float32))
        self.register_buffer("second", torch.arange(second, dtype=torch.float32))
        normal = torch.linspace(-REACH, REACH, KNOTS)
        self.register_buffer("table", normal.repeat(first, second, 1))

    @torch.no_grad()
    def fit(self, values: Tensor, first: Tensor, second: Tensor) -> None:
        """Quantiles of values (n,) whose coordinates are nearest to each pair of nodes.

        A pair with few values keeps the normal law.
        """
        normal = self.table[0, 0]
        levels = (1 - above(normal.double())).clamp(0, 1)
        place = self._nearest(self.first, first) * len(self.second)
        place += self._nearest(self.second, second)
        order = torch.argsort(place, stable=True)
        counts = torch.bincount(place, minlength=self.first.numel() * self.second.numel())
        rows = self.table.view(-1, KNOTS)
        for row, part in enumerate(values[order].split(counts.tolist())):
            if len(part) >= LEAST:
                ordered = part.double().sort().values
                at = levels * (len(part) - 1)
                low = at.long().clamp(max=len(part) - 2)
                rows[row] = torch.lerp(ordered[low], ordered[low + 1], at - low).float()

    @staticmethod
    def _nearest(nodes: Tensor, values: Tensor) -> Tensor:
        if len(nodes) == 1:
            return torch.zeros_like(values, dtype=torch.long)
        return torch.searchsorted((nodes[1:] + nodes[:-1]) / 2, values.contiguous())

    def at(self, first: Tensor, second: Tensor) -> "Rows":
        """The interpolated laws at coordinates, first (N, n) and second (N, 1)."""
        return Rows(
            self.table, self._between(self.first, first), self._between(self.second, second)
        )

    @staticmethod
    def _between(nodes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if len(nodes) == 1:
            zero = torch.zeros_like(values, dtype=torch.long)
            return zero, torch.zeros_like(values)
        upper = torch.searchsorted(nodes, values.contiguous()).clamp(1, len(nodes) - 1)
        low, high = nodes[upper - 1], nodes[upper]
        return upper - 1, ((values - low) / (high - low)).clamp(0, 1)


class Rows:
    """Laws of many variables (N, n)."""

    def __init__(
        self, table: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> None:
        self.table, (self.row, self.along), (self.column, self.across) = table, first, second

    def knots(self, number: Tensor) -> Tensor:
        """The knots (N, n) of these numbers (N, n)."""
        rows, columns = self.table.shape[:2]
        row, column = self.row, self.column.expand_as(self.row)
        next_row, next_column = (row + 1).clamp(max=rows - 1), (column + 1).clamp(max=columns - 1)
        low = torch.lerp(
            self.table[row, column, number], self.table[row, next_column, number], self.across
        )
        high = torch.lerp(
            self.table[next_row, column, number],
            self.table[next_row, next_column, number],
            self.across,
        )
        return torch.lerp(low, high, self.along)

    def to_normal(self, value: Tensor) -> Tensor:
        """The normal variable (N, n) of standardised values (N, n)."""
        low = torch.zeros_like(value, dtype=torch.long)
        high = torch.full_like(low, KNOTS - 1)
        while int((high - low).max()) > 1:
            middle = (low + high) // 2
            above_ = self.knots(middle) <= value
            low, high = torch.where(above_, middle, low), torch.where(above_, high, middle)
        left, right = self.knots(low), self.knots(high)
        share = ((value - left) / (right - left).clamp_min(1e-6)).clamp(0, 1)
        return -REACH + (low + share) * (2 * REACH / (KNOTS - 1))

    def from_normal(self, normal: Tensor) -> Tensor:
        """Standardised values (N, n) of a normal variable (N, n)."""
        place = ((normal + REACH) * ((KNOTS - 1) / (2 * REACH))).clamp(0, KNOTS - 1)
        low = place.long().clamp(max=KNOTS - 2)
        return torch.lerp(self.knots(low), self.knots(low + 1), place - low)
