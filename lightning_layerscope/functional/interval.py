"""A number with the ends of its interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; the ends are NaN where there is none, as for a single observation.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.

    Examples:
        >>> found = Interval.around(0.5, 0.2)
        >>> found.above_zero, -found
        (True, Interval(value=-0.5, low=-0.7, high=-0.3))
    """

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, half_width: float) -> Interval:
        """The interval that reaches equally far to both sides."""
        return cls(value, value - half_width, value + half_width)

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above zero; False where there is none."""
        return self.low > 0

    def __neg__(self) -> Interval:
        return Interval(-self.value, -self.high, -self.low)
