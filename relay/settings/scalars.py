"""Numbers, durations, sizes, switches and words, as text of the file or as Python values.

Everything written in the file arrives here as text, never as what YAML 1.1 makes of it: there `off` would be
false, `1:30` ninety, and `010` eight. So a value means the same with quotes, without, and from the environment.
Each parser raises ValueError whose message is what is allowed; none repeats what was found.
"""

import re
from collections.abc import Callable

_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?) ?(?P<unit>[smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(?P<number>[0-9]{1,15}) ?(?P<unit>|b|kb|mb|gb|kib|mib|gib)", re.IGNORECASE)
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_COUNT = re.compile(r"[0-9]{1,9}")
_SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def text_of(value: object) -> str:
    """The text of a scalar; "" for what is none."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else ""


def parse_duration(value: object, *, positive: bool = False) -> float:
    """Parse `90`, `90s`, `5m`, `2h`, `5d` into seconds."""
    match = _DURATION.fullmatch(text_of(value))
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else -1.0
    if seconds < 0 or (positive and not seconds):
        above = " above zero" if positive else ""
        raise ValueError(f"a duration{above} of up to 9 digits: 90, 90s, 5m, 2h or 5d")
    return seconds


def parse_size(value: object) -> int:
    """Parse `10MB` (10^7), `40MiB` (40 * 2^20) or plain bytes into bytes."""
    match = _SIZE.fullmatch(text_of(value))
    size = int(match["number"]) * _BYTES[match["unit"].lower()] if match else 0
    if not size:
        raise ValueError("a size above zero of up to 15 digits, plain bytes or in KB, MB, GB, KiB, MiB or GiB")
    return size


def parse_count(value: object, *, least: int) -> int:
    """Parse a whole number."""
    text = text_of(value)
    if not _COUNT.fullmatch(text) or int(text) < least:
        raise ValueError(f"a whole number from {least} to 999999999")
    return int(text)


def parse_rate(value: object) -> float:
    """Parse a number above zero."""
    text = text_of(value)
    if not _NUMBER.fullmatch(text) or not float(text):
        raise ValueError("a number above zero with up to 9 digits and 6 decimals: 14 or 14.5")
    return float(text)


def parse_switch(value: object) -> bool:
    """Parse true or false, and the other words of YAML 1.1 for them."""
    text = text_of(value).lower()
    if text not in _SWITCH:
        raise ValueError("true or false")
    return _SWITCH[text]


def parse_word(value: object) -> str:
    """Parse text that is neither empty nor padded."""
    text = text_of(value)
    if not text or text != text.strip():
        raise ValueError("text without blanks around it")
    return text


def parse_choice(value: object, *, words: tuple[str, ...]) -> str:
    """Parse one of `words`."""
    text = text_of(value)
    if text not in words:
        raise ValueError(" or ".join(filter(None, [", ".join(words[:-1]), words[-1]])))
    return text


def parse_word_or(value: object, *, word: str, parse: Callable[[object], object]) -> object:
    """Parse `word` itself, or else what `parse` does; `false` is how some tools write the word `off`."""
    text = text_of(value)
    if text == word or (text == "false" and word == "off"):
        return word
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{word}, or {error}") from None
