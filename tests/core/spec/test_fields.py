"""Field types of a specification."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from pydantic import TypeAdapter, ValidationError

from core.spec.fields import Text

REFUSED = ("Cc", "Cf", "Zl", "Zp")


def test_text_refuses_exactly_the_control_and_formatting_characters_of_unicode() -> None:
    text: TypeAdapter[str] = TypeAdapter(Text)
    categories = {chr(code): unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)}
    refused = [character for character, category in categories.items() if category in REFUSED]
    # Whether unassigned ones are refused depends on the version of Unicode.
    accepted = [character for character, category in categories.items() if category not in (*REFUSED, "Cn", "Cs")]
    for start in range(0, len(accepted), 200):
        text.validate_python("".join(accepted[start : start + 200]))
    for character in refused:
        with pytest.raises(ValidationError):
            text.validate_python(f"a{character}b")


@pytest.mark.parametrize("name", ["a\x9b31mb", "a\u202eb", "a\u2028b", "a\u200bb", "a\xadb"])
def test_the_message_says_what_a_name_must_not_contain(name: str) -> None:
    from core.spec import SpecError, parse_spec

    with pytest.raises(SpecError, match="control characters and invisible formatting characters"):
        parse_spec({"kind": "expert", "expert": {"arch": "convnet_small"}, "name": name})
