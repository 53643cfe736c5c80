"""The report, its figures and the pages of studies do nothing, whatever the texts in them ask for."""

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

import sosie.report
import sosie.study_page
from browser import listening, loaded
from chain import chain, report, small
from conftest import electrons, write_root
from inert import TITLE, Page, payloads
from sosie import panels, plots, speed
from sosie.detectors.base import Quantity
from sosie.files import UNPRINTED, write_json
from sosie.studies import main as studies
from sosie.style import Drawn, house_style, to_svg
from test_studies import results  # noqa: F401

NOWHERE = "http://127.0.0.1:9/"
PAYLOADS = payloads(NOWHERE)
# Names that decide where something stands, and what is an image already.
STRUCTURE = {"image", "sections"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A page, and all that its template was given."""
    folder, given = tmp_path_factory.mktemp("page"), []
    source = folder / f"{PAYLOADS[0].replace('/', '_')}.root"
    source.write_bytes(write_root(folder / "a.root", electrons(120)).read_bytes())
    study = small([str(source)], selection="event_id < 10**6")
    out = chain(study, folder / "out")
    render_as_it_is = jinja2.Template.render

    def rendered(template, **context):
        given.append(context)
        return render_as_it_is(template, **context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Template, "render", rendered)
        # There are a hundred panels; what they hold is another test's concern.
        draw = cache(lambda: to_svg(Figure()))
        patch.setattr(sosie.report, "to_svg", lambda _: draw())
        page = report(study, out)
    return page, given[0]


def poisoned(value, payload):
    """The same with every text replaced, by the payload or the next of some."""
    if isinstance(value, str):
        return payload if isinstance(payload, str) else next(payload)
    if isinstance(value, dict):
        return {
            key: inside if key in STRUCTURE else poisoned(inside, payload)
            for key, inside in value.items()
        }
    if isinstance(value, tuple):
        return tuple(poisoned(inside, payload) for inside in value)
    return [poisoned(inside, payload) for inside in value] if isinstance(value, list) else value


def render(context, payload):
    """The page of a context in which every text, and every name that is shown, is a payload."""
    given = poisoned(copy.deepcopy(context), payload)
    for place in (given["summary"]["events"]["kept"], given["summary"]["conditions"]):
        named = {f"{poisoned('', payload)} {n}": value for n, value in enumerate(place.values())}
        place.clear()
        place.update(named)
    given["sections"] = {
        step: poisoned(items, payload) for step, items in context["sections"].items()
    } | {poisoned("", payload): []}
    return template().render(**given)


def template():
    """The template as report takes it."""
    loader = jinja2.PackageLoader("sosie")
    made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return made.get_template("report.html")


@pytest.mark.slow
@pytest.mark.fault(12)
def test_a_page_of_a_study_whose_file_is_named_like_a_script(shown):
    page, context = shown
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    assert found.alive == []
    name = PAYLOADS[0].replace("/", "_")
    assert f"{name}.root" in found.text
    assert name not in text
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert template().render(**context) == text


@pytest.mark.slow
@pytest.mark.fault(12)
def test_every_text_of_the_page_is_shown_and_does_nothing(shown, tally):
    _, context = shown
    plain = Page(render(context, "plain"))
    assert plain.alive == []
    assert plain.text.count("plain") > 200
    for payload in PAYLOADS:
        found = Page(render(context, payload))
        # No element that the template does not have, none lost, and the text where the plain one is.
        same = found.elements == plain.elements
        ends = payload.strip("\0 \n")[-9:]
        tally.add(not found.alive and same and ends in found.text, f"{payload}: {found.alive}")


def drawings(payload: str) -> Iterator[Figure]:
    """Figures with the payload wherever a study or a result can put a text."""
    quantity, name = Quantity(payload, payload, payload), payload
    edges, ones = np.arange(3.0), np.ones((1, 1, 2))
    arrays = dict.fromkeys(("reference", "reference_error", "mean", "systematic"), ones)
    arrays |= dict.fromkeys(("difference", "difference_error"), ones)
    drawn = [Drawn(name, 0, 2, {"p/edges": edges, "p/centre": edges[:2] + 0.5} | {
        f"p/{key}": array for key, array in arrays.items()
    })]  # fmt: skip
    yield panels.profile_figure(quantity, 0, [payload], {"p": quantity}, drawn)
    figure = {"value": 0.7, "statistical": 0.1, "systematic": None, "events": [9, 9]}
    yield plots.distance_figure({"a": payload}, payload, {"a": figure}, {payload: {"a": figure}})
    points = [speed.Point(payload, place, 1.0 + place, (0.9, 3.0), 0.7, 0.1) for place in range(2)]
    yield speed.speed_figure(points, figure)


@pytest.mark.slow
@pytest.mark.fault(12)
def test_every_text_of_a_figure_does_nothing(long, tally):
    for payload in PAYLOADS if long else PAYLOADS[::3]:
        # No study has a name or label with control characters.
        text = UNPRINTED.sub(" ", payload)
        with house_style():
            for number, figure in enumerate(drawings(text)):
                found = to_svg(figure)
                ElementTree.fromstring(found)
                alive = [each for each in Page(found).alive if "data:image/png" not in each]
                tally.add(not alive, f"figure {number}: {payload}: {alive}")


def rows_with(folder: Path, out: Path, payload: str) -> None:
    """Rows of a study in which texts and names of inputs are the payload."""
    assert studies(["rows", str(folder), str(out)]) == 0
    for path in out.glob("*.json"):
        row = json.loads(path.read_text())
        row.pop("digest")
        row["machine"] = {payload: payload}
        if "inputs" in row:
            row["inputs"] = {payload: payload}
            row["events"] = {payload: 5}
        else:
            row["training"]["provenance"] = dict.fromkeys(("code", "sosie", "seed"), payload)
            row["costs"]["training"]["device"] = payload
            row["costs"]["drawing"]["processor"] = payload
            row["trust"] = row["trust"] and json.loads(
                json.dumps(row["trust"]).replace('"wide"', json.dumps(payload))
            )
        if row["name"] == "gan":
            row["name"] = payload
        write_json(path, row)
    about = {"title": payload, "description": [payload], "targets": [], "notes": [payload]}
    (out / "about.json").write_text(json.dumps(about))


@pytest.mark.slow
@pytest.mark.fault(12)
def test_the_page_of_a_study_does_nothing(results, tmp_path, tally, monkeypatch):  # noqa: F811
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    for number, payload in enumerate(["plain", *PAYLOADS]):
        out = tmp_path / f"docs/{number} [x](y) <b>"
        rows_with(results, out, payload)
        page = tmp_path / f"docs/{number}.md"
        assert studies(["page", str(out), str(page)]) == 0
        found = Page(reader.render(page.read_text(encoding="utf-8")))
        ours = ["img src=", "a href="]
        alive = [
            each for each in found.alive
            if not (each.startswith(tuple(ours)) and f"{number}%20%5Bx%5D" in each)
        ]  # fmt: skip
        if payload == "plain":
            monkeypatch.setattr(sosie.study_page, "drawings", lambda rows: {})
            elements = [e for e in found.elements if e not in ("code", "em")]
            continue
        # The texts by hand are Markdown; pictures and links in them are their author's.
        alive = [each for each in alive if not each.startswith(f"img src={NOWHERE}")]
        extra = {e for e in found.elements if e not in ("code", "em")} - set(elements)
        tally.add(not alive and not extra, f"{payload}: {alive} {extra}")


POLICY = re.compile(r"<meta http-equiv=.Content-Security-Policy.[^>]*>")


@pytest.mark.slow
@pytest.mark.fault(12)
def test_chromium_runs_nothing_and_calls_nobody(shown, tmp_path):
    """The page with payloads in turn as its texts; the policy alone; and neither, as a check of the check."""
    page, profile = tmp_path / "page.html", tmp_path / "profile"
    with listening() as (address, heard):
        texts = payloads(address)
        whole = render(shown[1], cycle(texts))
        page.write_text(whole, encoding="utf-8")
        dumped = loaded(page, profile)
        assert heard == []
        assert titles(dumped) != [TITLE]
        assert Page(dumped).alive == []
        # Only a refresh is none of the business of a policy.
        bare = [text for text in texts if "refresh" not in text and "plaintext" not in text]
        (policy,) = POLICY.findall(whole)
        page.write_text(f"{policy}<title>page</title>{''.join(bare)}", encoding="utf-8")
        assert titles(loaded(page, profile))[0] == "page"
        assert heard == []
        page.write_text(f"<title>page</title>{''.join(bare)}", encoding="utf-8")
        assert titles(loaded(page, profile))[0] == TITLE
        assert {"/script", "/image", "/style.css"} <= set(heard)


def titles(text: str) -> list[str]:
    """The titles of a page."""
    return re.findall(r"<title>(.*?)</title>", text, re.DOTALL)


def test_the_parser_finds_what_lives():
    for payload in PAYLOADS[:4] + PAYLOADS[6:11]:
        assert Page(f"<p>{payload}</p>").alive, payload
    assert Page(f'<p title="{PAYLOADS[4]}">').alive
