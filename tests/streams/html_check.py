"""Is an HTML file whole, and does it ask for nothing."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class WellFormed(HTMLParser):
    """Fails where an element is closed that is not open; keeps the names of elements, and their attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.attributes, self.text = [], set(), [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def checked(text):
    """The parsed file, which must be whole and ask for nothing."""
    parsed = WellFormed(text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)  # noqa: S314 (our own)
    assert set(re.findall(r"https?:[^\s\"'<>)]*", text)) <= NAMESPACES
    assert not parsed.names & {"script", "link", "iframe", "object", "form"}
    for name, value in parsed.attributes:
        assert not name.startswith("on")
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith(("data:image/", "#"))
    return parsed


def embedded(text, kind):
    """The pictures in the file; the drawings have parts of their own."""
    return [base64.b64decode(found) for found in re.findall(rf"<img src=\"data:image/{kind};base64,([^\"]*)", text)]
