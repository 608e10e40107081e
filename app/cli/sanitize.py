"""Text from the service, made safe for a terminal."""

from __future__ import annotations

import re
import unicodedata

# CSI sequences (colours, cursor movement), string sequences (window titles, hyperlinks) and two-character escapes, each
# with a 7-bit or an 8-bit introducer (ECMA-48, section 5).
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)


def sanitize(text: str) -> str:
    """Removes terminal escape sequences and shows what is left of control characters as escapes such as `\\x9b`.

    Control characters are C0 (except newline and tab), DEL, C1, bidirectional marks, other invisible format characters
    and lone surrogates. Applying it twice gives the same as applying it once.
    """
    if text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text)
    return "".join(character if _is_safe(character) else _escape(character) for character in text)


def _is_safe(character: str) -> bool:
    return character in "\n\t" or character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
