"""Second-order optimisation: linear maps of functions, conjugate gradient, line search."""

from metarl.optimization.conjugate_gradient import conjugate_gradient
from metarl.optimization.line_search import backtracking_line_search
from metarl.optimization.linear_map import LinearMap
from metarl.optimization.vectors import from_vector, to_vector

__all__ = [
    "LinearMap",
    "backtracking_line_search",
    "conjugate_gradient",
    "from_vector",
    "to_vector",
]
