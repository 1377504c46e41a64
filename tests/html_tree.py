"""A page as a tree, strict about what a browser would forgive: every element closed, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag: str, css_class: str = "") -> list[Element]:
        return [e for e in self.walk() if e.tag == tag and (not css_class or css_class in e.attributes.get("class", "").split())]

    def by_id(self, name: str) -> Element:
        [found] = [element for element in self.walk() if element.attributes.get("id") == name]
        return found

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("#document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}> at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def check_links(page: Element, sheets: Mapping[str, Element] | None = None) -> None:
    """Ids are unique, links inside the page lead somewhere, and the only links out are to the data and the ``sheets`` beside it."""
    ids = [element.attributes["id"] for element in page.walk() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = [e.attributes["href"] for e in page.walk() if "href" in e.attributes]
    inside = {target[1:] for target in targets if target.startswith("#") and not target.startswith("#filter?")}
    assert inside <= set(ids)
    outside = {target for target in targets if not target.startswith("#")} - {"data:,", "results.parquet", "results.csv"}
    there = {file: {e.attributes.get("id") for e in sheet.walk()} | {""} for file, sheet in (sheets or {}).items()}
    for file, _, anchor in (target.partition("#") for target in outside):
        assert anchor in there[file]
    labels = {label for e in page.walk() for label in e.attributes.get("aria-labelledby", "").split()}
    assert labels <= set(ids)


def parse(html: str) -> Element:
    builder = _Builder()
    builder.feed(html)
    builder.close()
    [root] = builder.open
    return root
