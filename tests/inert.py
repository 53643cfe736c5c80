"""What would run in a page: texts that ask for it, and a parser that finds where one got through."""

from html.parser import HTMLParser
from typing import Any

TITLE = "hacked"
"""What the title of a page becomes where one of the payloads runs."""


def payloads(address: str) -> list[str]:
    """Texts that set the title or call an address, were they markup."""
    act = f"document.title='{TITLE}'"
    call = f"fetch('{address}script')"
    return [
        f"<script>{act};{call}</script>",
        f"</title></style></pre></td><script>{act}</script>",
        f"<img src=x onerror={act}>",
        f"<img src={address}image>",
        f'" onmouseover="{act}" autofocus onfocus="{act}" x="',
        f"' onload='{act}' x='",
        f"<svg onload={act}><script>{act}</script></svg>",
        f"<iframe src={address}frame srcdoc='<script>{act}</script>'></iframe>",
        f"<meta http-equiv=refresh content='0;url={address}refresh'>",
        f"<base href={address}base/><link rel=stylesheet href={address}style.css>",
        f"<a href=javascript:{act}>x</a>",
        f"[x](javascript:{act}) ![x]({address}markdown) <javascript:{act}>",
        f"`</code><script>{act}</script>` | \n\n<script>{act}</script>",
        f"<style>@import url({address}import); body {{ background: url({address}body) }}</style>",
        f"<object data={address}object></object><embed src={address}embed>",
        f"--><script>{act}</script><!--",
        f"]]><script>{act}</script><![CDATA[",
        "{{ 7 * 7 }}{% for x in y %}{# #}",
        "&lt;script&gt;&#60;script&#62;",
        f"\\<script>{act}</script>",
        "\u202e</b>\x00\x1b[31m<plaintext>",
    ]


class Page(HTMLParser):
    """Elements, attributes and text of a page, and what in it would run or reach outside."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.alive: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.elements.append(tag)
        if tag in ("script", "iframe", "object", "embed", "base", "form", "link", "foreignobject"):
            self.alive.append(f"<{tag}>")
        for name, value in attrs:
            low = "".join((value or "").lower().split())
            if name.startswith("on") or name in ("srcdoc", "action", "formaction"):
                self.alive.append(f"{tag} {name}={value}")
            if name == "http-equiv" and low != "content-security-policy":
                self.alive.append(f"{tag} {name}={value}")
            addresses = ("href", "src", "data", "xlink:href", "poster", "background")
            if name in addresses and not low.startswith(("#", "data:image/svg+xml;base64,")):
                self.alive.append(f"{tag} {name}={value}")

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.text += data
