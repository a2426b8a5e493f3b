"""A page as a reader of it sees it: which elements there are, and what stands in them."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """``tags`` are all elements with their attributes; ``texts`` maps an element's id to the text in it; ``numbers``
    maps a list's id to the entries whose buttons stand in it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, list[int]] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag not in {"meta", "link", "br", "img", "input", "hr"}:
            self._open.append((tag, given.get("id", "")))
        if "data-number" in given:
            for _, name in self._open:
                if name:
                    self.numbers.setdefault(name, []).append(int(given["data-number"]))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data

    def count(self, tag: str) -> int:
        return sum(each == tag for each, _ in self.tags)

    @property
    def root(self) -> dict[str, str]:
        """The attributes of the html element."""
        return next(attributes for tag, attributes in self.tags if tag == "html")
