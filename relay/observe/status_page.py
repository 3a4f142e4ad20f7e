"""The status page: facts in, one small HTML page out, with everything escaped and nothing to click."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "body{color:#222;background:#fff}"
    "table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}"
    "th{font-weight:600}td table th{font-weight:400;color:#555}ul{margin:0;padding-left:1.2rem}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td table th{color:#aaa}}"
)


def page(facts: Mapping[str, object]) -> str:
    """Lay out `facts`: mappings become tables, lists and tuples lists, everything else its text."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>ses-relay</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><h1>ses-relay</h1>{_shown(facts)}\n"
    )


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        rows = (f"<tr><th>{escape(str(key))}</th><td>{_shown(item)}</td></tr>" for key, item in value.items())
        return f"<table>{''.join(rows)}</table>"
    if isinstance(value, list | tuple):
        return f"<ul>{''.join(f'<li>{_shown(item)}</li>' for item in value)}</ul>"
    return escape(str(value))
