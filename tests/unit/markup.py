# SPDX-License-Identifier: Apache-2.0
"""What is in a page? It is read by html.parser and must be well formed; no browser is needed."""

from __future__ import annotations

from html.parser import HTMLParser

_EMPTY = frozenset(("meta", "input"))  # of HTML; parts of a picture may end themselves
# Attributes that make a browser fetch something, or run it.
_ACTIVE = frozenset(
    ("src", "href", "srcset", "data", "action", "formaction", "poster", "background", "style", "xlink:href")
)


class Element:
    """One element: its name, attributes and parts, which are texts and elements."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.parts: list[str | Element] = []

    @property
    def classes(self) -> set[str]:
        """Those of its attribute class."""
        return set(self.attributes.get("class", "").split())

    def text(self) -> str:
        """All text in it."""
        return "".join(part if isinstance(part, str) else part.text() for part in self.parts)

    def all(self, name: str, of_class: str = "") -> list[Element]:
        """Every element below it with this name and class, in the order of the page."""
        found = []
        for part in self.parts:
            if isinstance(part, Element):
                if part.name == name and (not of_class or of_class in part.classes):
                    found.append(part)
                found += part.all(name, of_class)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs), f"<{tag}> has an attribute twice: {attrs}"
        found = _ACTIVE & attributes.keys() | {name for name in attributes if name.startswith("on")}
        assert not found, f"<{tag}> has {found}"
        if "id" in attributes:
            assert attributes["id"] not in self.ids, f"id {attributes['id']} is there twice"
            self.ids.add(attributes["id"])
        element = Element(tag, attributes)
        self.open[-1].parts.append(element)
        if tag not in _EMPTY:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"rect", "line"}, f"<{tag}/>"
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> ends <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")


def read(page: str) -> Element:
    """The page's root. AssertionError if it is not well formed, or has what would be fetched or run."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [reader.root], f"<{reader.open[-1].name}> is not closed"
    assert not reader.root.all("script")
    return reader.root
