# SPDX-License-Identifier: Apache-2.0
r"""How is a value written as JSON? The counterpart of config.parse, and as cheap to import.

The `json` package costs 5 ms to import; the C encoder under it alone costs 0.25 ms. All text is ASCII with escapes,
so that bytes which are not UTF-8 (surrogates, in Python) pass through as `\udcXX` and come back the same.
This module must not import `json`, nor anything of the package.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder

quote = encode_basestring_ascii


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


# markers, default, encoder, indent, key separator, item separator, sort_keys, skipkeys, allow_nan
_encode = make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)


def compact(value: object) -> str:
    """`value` on one line, without spaces and without a newline at the end."""
    return "".join(_encode(value, 0))


def indented(value: object, step: str = "  ", margin: str = "") -> str:
    """`value` over many lines, one property or element a line, without a newline at the end."""
    inner = margin + step
    if isinstance(value, dict) and value:
        rows = [f"{inner}{quote(str(name))}: {indented(item, step, inner)}" for name, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{margin}}}"
    if isinstance(value, (list, tuple)) and value:
        rows = [inner + indented(item, step, inner) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{margin}]"
    return compact(value)
