"""The status page shows facts and cannot be made to show anything else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from relay.observe.status_page import page


class Reader(HTMLParser):
    """What a browser would see: the tags and the text, apart."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_facts_are_laid_out_by_their_form() -> None:
    """A mapping in a mapping is a table in a table, a list a list, and numbers are their text."""
    seen = Reader(page({"version": "1.2", "regions": {"us-west-2": "up"}, "listeners": ["127.0.0.1:2525", 7]}))

    assert seen.tags.count("table") == 2
    assert seen.tags.count("li") == 2
    for fact in ("version", "1.2", "us-west-2", "up", "127.0.0.1:2525", "7"):
        assert f"\n{fact}\n" in seen.text


@pytest.mark.parametrize(
    "hostile", ["<script>x</script>", '"><img src=x onerror=y>', "</td></table><form>", "&lt;b&gt;"]
)
def test_every_text_is_escaped(hostile: str) -> None:
    """Whatever stands in a name or a value is text: the page has the same tags as with a harmless one."""
    shape: list[dict[str, object]] = [{"key": "text"}, {"key": ["text"]}, {"key": {"text": 1}}]
    filled: list[dict[str, object]] = [{"key": hostile}, {"key": [hostile]}, {"key": {hostile: 1}}]

    for harmless, bad in zip(shape, filled, strict=True):
        assert Reader(page(bad)).tags == Reader(page(harmless)).tags
        assert hostile in Reader(page(bad)).text


def test_the_page_is_read_only() -> None:
    """No script, no form, no link, nothing loaded from elsewhere."""
    seen = Reader(page({"a": ["b"], "c": {"d": 1}}))

    assert not {"script", "form", "a", "img", "link", "iframe", "button", "input"} & set(seen.tags)
    assert not {name for name, _ in seen.attributes} & {"src", "href", "action"}
