"""Every fusion type by its name. A new one is a file and a row here."""

from __future__ import annotations

from core.fusion.base import Combine
from core.fusion.concatenation import Concatenation
from core.fusion.multiplicative import Multiplicative
from core.fusion.multiplicative_addition import MultiplicativeAddition
from core.fusion.multiplicative_shifted import MultiplicativeShifted
from core.fusion.simple_addition import SimpleAddition
from core.fusion.transformer_base import TransformerBase

FUSIONS: dict[str, type[Combine]] = {
    "multiplicative": Multiplicative,
    "multiplicativeAddition": MultiplicativeAddition,
    "multiplicativeShifted": MultiplicativeShifted,
    "TransformerBase": TransformerBase,
    "concatenation": Concatenation,
    "simpleAddition": SimpleAddition,
}
