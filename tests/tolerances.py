"""How exact a value has to be, and why. Loaded by the conftest files as the fixture ``tolerances``."""

# The measures compute in float64 (unit roundoff 1e-16). Their worst step takes square roots of eigenvalues of a Gram
# matrix: an eigenvalue error of 1e-16 of the largest becomes 1e-8 in a singular value, times tens of small ones. 1e-6
# leaves a factor of ten and is what the project promises.
EXACT = 1e-6

# Independent implementations that iterate to their own tolerance (scikit-learn's CCA by power iterations).
ITERATIVE = 1e-4

# Two float64 evaluations of one formula on transformed inputs: as EXACT, without the square roots' worst case.
INVARIANT = 1e-7

# A transformation that a measure must feel moves the planted cases by at least .01; a tenth of that is asked for, a
# thousand times more than any rounding.
FELT = 1e-3

# float32 and bfloat16 inputs with large means and outlier dimensions, against float64 on the same rounded numbers.
ROUNDED_INPUT = 1e-5

# Metrics store float32 rows: relative rounding 6e-8 of the input, against the function on the unrounded rows.
METRIC = 1e-6

# Several processes against one: the same rows in the same or another order.
DISTRIBUTED = 1e-6
