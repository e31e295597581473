"""The page, read by a parser and looked at in a headless browser."""

import html.parser
import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from seqjax.forecast import evaluate, frames, pages, results

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser", "chrome"))),
    None,
)
HOSTILE = '</svg><script>alert("x")</script> & $x_{1}$ 日本'
VOID = {"meta", "link", "img", "br", "hr", "input"}


def made(ids, *, horizon=7, steps=70, levels=(80, 95), zone=None):
    """Results of forecasts that are 0.5 too high, of many series of noise; the last is constant."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2024-01-01", periods=steps + horizon, freq="D", tz=zone)
    width = np.append(np.linspace(0.3, 3, len(ids) - 1), 0.0)
    values = 50 + rng.normal(0, 1, (len(ids), steps + horizon)) * width[:, None]
    history, past, future = [], [], []

    def forecast(y):
        ends = {f"GRU-{end}-{level}": y + sign * level / 20
                for level in levels for end, sign in (("lo", -1), ("hi", 1))}  # fmt: skip
        return {"GRU": y + 0.5} | ends

    for name, y in zip(ids, values, strict=True):
        history.append(pd.DataFrame({"unique_id": name, "ds": times[:steps], "y": y[:steps]}))
        for start in (steps - 2 * horizon, steps - horizon):
            part = slice(start, start + horizon)
            held = {"unique_id": name, "ds": times[part], "cutoff": times[start - 1]}
            past.append(pd.DataFrame(held | {"y": y[part]} | forecast(y[part])))
        future.append(pd.DataFrame({"unique_id": name, "ds": times[steps:]} | forecast(y[steps:])))
    frame, crossed = pd.concat(history), pd.concat(past)
    panel, _ = frames.panel_from_frame(frame)
    return results.Results(
        source="sales <b>.csv", step="day", name="GRU", levels=tuple(map(float, levels)),
        history=frame, cross_validation=crossed, future=pd.concat(future),
        scores=evaluate.scores(crossed, panel, 7),
        found={"series": len(ids)}, notes=["57 steps that are absent <i>"],
        settings={"window": 14}, versions={"jax": "0.10.2"}, again="seqjax predict runs/sales",
    )  # fmt: skip


class Reader(html.parser.HTMLParser):
    """The elements of a page, which all close."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.elements if tag == name]


def test_the_page_stands_alone_and_holds_what_the_user_gave_as_text(tmp_path):
    found = made([HOSTILE, *(f"shop {i}" for i in range(19))])
    files = pages.write(tmp_path, found)
    assert {path.name for path in files} == {
        "report.html", "forecasts.png", "horizon.png", "calibration.png",
    }  # fmt: skip
    raw = (tmp_path / "report.html").read_text()
    page = Reader(raw)
    text = " ".join(page.text)
    assert not page.all("script")
    assert "absent <i>" in text
    assert HOSTILE in text  # the worst by skill
    assert "sales <b>.csv: the next 7 days" in text
    links = [
        e[name] for _, e in page.elements for name in ("src", "href", "xlink:href") if name in e
    ]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "url(http" not in raw
    assert "@import" not in raw
    ids = [e["id"] for _, e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    svgs = page.all("svg")
    assert len(svgs) == results.DRAWN + 2
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 40 for svg in svgs)
    assert HOSTILE in svgs[0]["aria-label"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    # A figure of every picture is in a table, too.
    shown = found.future.groupby("unique_id").get_group(HOSTILE)["GRU"]
    assert f"{shown.iloc[-1]:.4g}" in text
    assert "6 series that the model is worst at" in text
    # A constant series has no scale and no skill, the others' is that of an error of 0.5.
    mae = found.scores.pooled.set_index(["model", "metric"])["value"]
    assert mae["GRU", "MAE"] == pytest.approx(0.5)
    mase = {model: value for (model, metric), value in mae.items() if metric == "MASE"}
    best = min(mase.keys() - {"GRU"}, key=mase.get)
    assert mase["GRU"] < mase[best]  # as the generator is
    less = f"GRU has {100 * (1 - mase['GRU'] / mase[best]):.0f} % less error than the best baseline"
    assert f"{less} ({best})" in text
    better = int((found.by_series[found.scores.reference] > 0.5).sum())
    assert 10 < better < 19
    assert f"It has less error than {found.scores.reference} on {better} of 19 series" in text
    assert "80 % intervals held 100 %" in text


def test_many_series_cost_no_more_than_those_drawn(tmp_path):
    found = made([f"id {i:05d}" for i in range(600)], steps=28)
    page = pages.report(found, results.outlooks(found), pages.Pictures())
    assert len(page) < 200_000
    assert page.count("<figure>") == results.DRAWN
    drawn = [one.title for one in results.outlooks(found)]
    skill = found.by_series["skill"]
    assert [skill[one] for one in drawn[:6]] == sorted(skill.dropna())[:6]  # the least
    half = drawn[results.DRAWN // 2 :]
    assert [skill[one] for one in half] == sorted(skill.dropna(), reverse=True)[:6]
    assert "All 600 are in forecasts.csv" in page


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_a_baseline_that_wins_is_told(tmp_path, zone):
    found = made(["only", "constant"], horizon=1, levels=(), zone=zone)
    pooled = found.scores.pooled.copy()
    pooled.loc[(pooled["model"] == "GRU") & (pooled["metric"] == "MASE"), "value"] = 1.25
    pooled.loc[(pooled["model"] != "GRU") & (pooled["metric"] == "MASE"), "value"] = 1.5
    pooled.loc[(pooled["model"] == "drift") & (pooled["metric"] == "MASE"), "value"] = 1.25
    pages.write(tmp_path, found._replace(scores=found.scores._replace(pooled=pooled)))
    text = " ".join(Reader((tmp_path / "report.html").read_text()).text)
    assert "A baseline is as good or better here: drift has MASE 1.25, GRU 1.25" in text
    assert "the next 1 day" in text
    assert "Calibration" not in text


# Two screens, in one look: what a reader would see to be wrong is counted.
LOOK = """<!doctype html><body>
<iframe width="390" height="844" style="border:0" src="report.html"></iframe>
<iframe width="1280" height="800" style="border:0" src="report.html"></iframe>
<script>addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, all = what => [...page.querySelectorAll(what)];
    const box = element => element.getBoundingClientRect();
    return {
      overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
      beyond: all("h1, p, dl, svg, figure, a").filter(e => box(e).right > frame.width).length,
      letters: Math.min(...all("svg text").map(e => box(e).height)),
      names: Math.min(...all("#skill tbody th").map(e => box(e).width)),
      pictures: all("svg").filter(e => box(e).height > 100).length,
      columns: getComputedStyle(page.querySelector(".cards")).gridTemplateColumns.split(" ").length,
      paper: getComputedStyle(page.body).backgroundColor,
      ink: getComputedStyle(page.querySelector("svg text")).fill,
      loaded: frame.contentWindow.performance.getEntriesByType("resource").length,
      scripts: page.scripts.length,
    };
  });
  document.body.textContent = JSON.stringify(found);
});</script>"""


def luminance(colour):
    """Of "rgb(r, g, b)", from 0 to 1."""
    red, green, blue = (int(part) / 255 for part in colour[4:-1].split(","))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_shows_it_on_a_phone_and_a_desk_in_light_and_in_dark(tmp_path):
    pages.write(tmp_path, made([HOSTILE, *(f"shop {i}" for i in range(5))]))
    (tmp_path / "look.html").write_text(LOOK)
    papers = []
    for scheme in (0, 1):  # dark, light
        command = [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--allow-file-access-from-files", "--virtual-time-budget=2000",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={scheme}", f"file://{tmp_path}/look.html",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        phone, desk = json.loads(done.stdout.partition("<body>")[2].partition("</body>")[0])
        for seen in (phone, desk):
            assert seen["overflow"] == seen["beyond"] == seen["loaded"] == seen["scripts"] == 0
            assert seen["letters"] >= 10  # CSS pixels
            assert seen["names"] >= 100
            assert seen["pictures"] == 8
            paper, ink = luminance(seen["paper"]), luminance(seen["ink"])
            assert abs(paper - ink) > 0.7
        assert (phone["columns"], desk["columns"]) == (1, 3)
        papers.append(luminance(phone["paper"]))
    assert papers[0] < 0.2 < 0.8 < papers[1]
