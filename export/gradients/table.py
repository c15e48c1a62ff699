"""Operator → the rule of its gradient."""

from __future__ import annotations

from reverie.export.gradients.backward import GradientRule
from reverie.export.gradients.elementwise import ELEMENTWISE
from reverie.export.gradients.moving import MOVING
from reverie.export.gradients.products import PRODUCTS
from reverie.export.gradients.reducing import REDUCING

RULES: dict[str, GradientRule] = ELEMENTWISE | MOVING | PRODUCTS | REDUCING
"""Operator → its rule."""
