# SPDX-License-Identifier: MIT
"""The report as a page: what is in it, how much memory it takes, and what a real browser (Chromium, without a window) makes of it. Pictures go
to $MODERNAUTH_BUILD/screenshots."""

import base64
import csv
import html.parser
import io
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time

import pytest

import doveadm_run
import page_data
from fake_admin import FakeAdmin

EX_USAGE, EX_CANTCREAT = 64, 73
MEGABYTE = 1024 * 1024
MANY = 100000


class Maker:
    """Has doveadm report on a site."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.doveadm = doveadm_run.Doveadm(directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def run(self, site, *args, **options):
        with FakeAdmin(self.doveadm.socket, site.answer):
            return self.doveadm.run("report", *args, **options)

    def page(self, site, name="page.html", *args):
        result = self.run(site, "--html", self.path(name), *args, output=None)
        assert result.status == 0, result
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def measured(self, site, *args):
        """The most memory it had, in octets; what it printed; how long it took."""
        started, peak = time.monotonic(), 0
        with FakeAdmin(self.doveadm.socket, site.answer), tempfile.TemporaryFile() as out:
            process = self.doveadm.popen("report", *args, output=None, stdout=out)
            while process.poll() is None:
                peak = max(peak, high_water(process.pid))
                time.sleep(0.01)
            assert process.wait() == 0, process.stderr.read()
            process.stderr.close()
            out.seek(0)
            return peak, out.read().decode("utf-8"), time.monotonic() - started


def high_water(pid):
    try:
        with open("/proc/%d/status" % pid, encoding="ascii") as file:
            name, *lines = file
            found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    except OSError:
        return 0
    # Before that it is sh, and a copy of this process before that.
    return found[0] if found and name.split()[1] == "doveadm" else 0


@pytest.fixture(scope="module")
def maker():
    assert doveadm_run.available(), "the plugin is neither installed nor in $MODERNAUTH_BUILD"
    with tempfile.TemporaryDirectory(prefix="ma-page-") as directory:
        yield Maker(directory)


@pytest.fixture(scope="module")
def many():
    return page_data.large(MANY)


class Words(html.parser.HTMLParser):
    """What is to be read in a page, and its tags."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags, self.inside = [], [], 0
        self.feed(page.replace("<wbr>", ""))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside += tag in ("style", "title", "desc")

    def handle_endtag(self, tag):
        self.inside -= tag in ("style", "title", "desc")

    def handle_data(self, data):
        if not self.inside:
            self.text.append(data)

    def words(self):
        return " ".join(" ".join(self.text).split())


# -- what is in it

def test_it_says_what_a_director_asks(maker):
    words = Words(maker.page(page_data.large())).words()
    for text in ("In the last 30 days 386 accounts signed in to Exchange Online", "324 are turned into modern authentication",
                 "55 are only watched so far", "7 still have their passwords sent on", "% fewer than in the seven days before",
                 "1 enrolled user has to sign in again", "1 credential of the application at Microsoft ends within 30 days",
                 "The exception “ k3v9x2m7q4ta ” ends after", "multi-factor authentication is required interaction AADSTS50076 Conditional Access:",
                 "copier, 2nd floor", "off by default, an admin can still turn it on", "ticket system, see #4711",
                 "dovecot-modernauth"):
        assert text in words, (text, words)
    assert "copier, 3rd floor" not in words


def test_one_user_on_his_first_day(maker):
    words = Words(maker.page(page_data.one())).words()
    assert "1 account signed in" in words and "It is turned into modern authentication here" in words
    assert "1 accounts" not in words and "the first day is not over yet" in words


def test_nobody_is_a_report_too(maker):
    words = Words(maker.page(page_data.empty())).words()
    assert "Nobody has signed in" in words and "Nothing has to be done now" in words


def test_who_brings_a_token_is_nobodys_concern(maker):
    site = page_data.Site()
    site.rows.append(page_data.row("anna@contoso.com", site.now, ok=5, mechanism="XOAUTH2", last_action="pass"))
    words = Words(maker.page(site.standard())).words()
    assert "Nobody has signed in" in words and "1 account signs in with a modern program that brings its own token" in words
    assert "anna@" not in words


def test_who_is_denied_or_elsewhere_or_never_got_in_does_not_break(maker):
    site = page_data.Site()
    for name, values in (("denied", {"ok": 5, "refused": 2, "last_action": "deny"}), ("elsewhere", {"other": 5, "last_action": "local"}),
                         ("guessed", {"refused": 9, "last_action": "refuse", "last_error": "user_unknown AADSTS50034"}),
                         ("works", {"ok": 1, "protocol": "pop3"})):
        site.rows.append(page_data.row(name + "@contoso.com", site.now, **values))
    words = Words(maker.page(site.standard())).words()
    assert "1 account signed in" in words and "Rules deny another 1 account." in words
    assert "1 more account has a mailbox that is not in Exchange Online" in words
    assert "works@contoso.com" in words and not re.search("(denied|elsewhere|guessed)@", words)


def test_the_restriction_is_said_and_totals_of_everybody_are_left_out(maker):
    page = maker.page(page_data.large(), "page.html", "--protocol", "pop3", "--since", "7d")
    words = Words(page).words()
    assert "--protocol pop3" in words and "Totals per day are counted for everybody together" in words and "(7 days)" in words
    assert 'id="days-t"' not in page and "such logins" not in words


def test_a_store_that_is_closed_is_not_asked(maker):
    site = page_data.one()
    site.about = [dict(about, store="closed") if "store" in about else about for about in site.about]
    with FakeAdmin(maker.doveadm.socket, site.answer) as fake:
        assert maker.doveadm.run("report", "--html", maker.path("page.html"), output=None).status == 0
        assert [request.verb for request in fake.requests] == ["REPORT", "REPORT", "REPORT", "POLICY"]


def test_the_file_is_its_owners_and_whole_or_not_there(maker):
    maker.page(page_data.one(), "mode.html")
    assert stat.S_IMODE(os.stat(maker.path("mode.html")).st_mode) == 0o600
    before = os.stat(maker.path("mode.html")).st_ino
    failing = page_data.one()
    failing.rows.append({"user": "half a row"})
    assert maker.run(failing, "--html", maker.path("mode.html"), output=None).status != 0
    assert os.stat(maker.path("mode.html")).st_ino == before and not [name for name in os.listdir(maker.directory) if ".tmp." in name]
    result = maker.run(page_data.one(), "--html", maker.path("no/such/directory.html"), output=None)
    assert result.status == EX_CANTCREAT and "no/such" in result.err
    for more in (["--csv"], ["--group-by", "user"], ["--working"]):
        result = maker.run(page_data.one(), "--html", maker.path("page.html"), *more)
        assert result.status == EX_USAGE and "--html" in result.err, result


# -- how much it takes

@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_users_take_little_memory(maker, many):
    peak, _, seconds = maker.measured(many, "--html", maker.path("many.html"))
    print("page: %d rows, %.1f MB, %.1f s" % (len(many.rows), peak / MEGABYTE, seconds))
    assert MEGABYTE < peak < 48 * MEGABYTE and os.path.getsize(maker.path("many.html")) < 200000
    peak, text, seconds = maker.measured(many, "--csv")
    print("csv: %.1f MB, %.1f s" % (peak / MEGABYTE, seconds))
    assert MEGABYTE < peak < 48 * MEGABYTE
    rows = csv.reader(io.StringIO(text))
    column = next(rows).index("last_seen")
    seen = [row[column] for row in rows]
    assert len(seen) == 3 * MANY and seen == sorted(seen, reverse=True)


# -- in a browser

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")


class Browser:
    def __init__(self, directory):
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-extensions",
                         "--disable-background-networking", "--no-first-run", "--user-data-dir=" + directory):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = webdriver.chrome.service.Service("/usr/bin/chromedriver")
        self.driver = webdriver.Chrome(service=service, options=options)

    def cdp(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def look(self, scheme="light", width=1280, media="screen"):
        self.cdp("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def open(self, path):
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get("file://" + path)

    def requests(self):
        """The addresses that were asked for since the page was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def picture(self, path, height=None):
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height or 16000), "scale": 1}
        data = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))


@pytest.fixture(scope="module")
def browser():
    with tempfile.TemporaryDirectory(prefix="ma-chromium-") as directory:
        browser = Browser(directory)
        yield browser
        browser.driver.quit()


@pytest.fixture(scope="module")
def pages(maker, many):
    """name -> path"""
    made = {}
    for name, site in (("empty", page_data.empty()), ("one", page_data.one()), ("some", page_data.large()), ("hostile", page_data.hostile()),
                       ("many", many)):
        made[name] = maker.path(name + ".html")
        if not os.path.exists(made[name]):
            maker.page(site, name + ".html")
    return made


@pytest.fixture(scope="module")
def screenshots():
    path = os.path.join(os.environ.get("MODERNAUTH_BUILD") or tempfile.gettempdir(), "screenshots")
    os.makedirs(path, exist_ok=True)
    return path


ALL = ["empty", "one", "some", "hostile", "many"]

STRUCTURE = """
const found = [], all = (q) => [...document.querySelectorAll(q)];
for (const landmark of ['header', 'nav', 'main', 'footer', 'h1'])
  if (all(landmark).length !== 1) found.push('not one ' + landmark);
let level = 1;
for (const heading of all('h1,h2,h3,h4')) {
  const now = Number(heading.tagName[1]);
  if (now > level + 1 || !heading.textContent.trim()) found.push('heading ' + heading.textContent);
  level = now;
}
for (const svg of all('svg')) {
  const title = svg.querySelector(':scope > title'), desc = svg.querySelector(':scope > desc');
  if (svg.getAttribute('aria-hidden') !== 'true' && !(svg.getAttribute('role') === 'img' && title && desc && title.textContent && desc.textContent))
    found.push('svg without title');
}
for (const table of all('table')) {
  if (!table.caption || !table.caption.textContent.trim()) found.push('table without caption');
  for (const th of table.querySelectorAll('th')) if (!th.scope) found.push('th without scope');
  const widths = new Set([...table.rows].map((row) => row.cells.length));
  if (widths.size !== 1) found.push('uneven table ' + table.caption.textContent);
}
for (const figure of all('figure')) if (!figure.querySelector('details table')) found.push('a chart without its numbers');
const ids = all('[id]').map((e) => e.id);
if (new Set(ids).size !== ids.length) found.push('ids twice');
for (const e of all('[aria-labelledby]'))
  for (const id of e.getAttribute('aria-labelledby').split(' ')) if (!ids.includes(id)) found.push('no ' + id);
for (const e of all('a[href]')) if (!ids.includes(e.getAttribute('href').slice(1))) found.push('a link to ' + e.href);
for (const e of all('.scroll')) if (e.tabIndex !== 0) found.push('what scrolls is out of the keyboard\\'s reach');
if (document.documentElement.lang !== 'en') found.push('no language');
return found;
"""

# [what, ratio] of all texts and marks that are hard to see.
CONTRAST = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
const found = [], seen = new Set();
for (const e of document.querySelectorAll('body, body *')) {
  const inSvg = e instanceof SVGElement, style = getComputedStyle(e);
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  let front, least;
  if (inSvg && e.tagName === 'rect' && !e.classList.contains('track')) [front, least] = [style.fill, 3];
  else if (own && !['style', 'title', 'desc'].includes(e.tagName.toLowerCase())) [front, least] = [inSvg ? style.fill : style.color, 4.5];
  else continue;
  const back = behind(inSvg ? e.closest('svg').parentElement : e), key = front + back;
  if (seen.has(key + least)) continue;
  seen.add(key + least);
  const value = ratio(rgb(front).slice(0, 3), back);
  if (value < least) found.push([e.tagName + ' ' + e.getAttribute('class') + ' ' + front + ' on ' + back, value]);
}
return [found, seen.size];
"""


@pytest.mark.parametrize("name", ALL)
def test_nothing_runs_and_nothing_is_asked_for(browser, pages, name):
    browser.look()
    browser.open(pages[name])
    assert browser.run("return window.hacked") is None
    assert browser.run("return [...document.querySelectorAll('script,iframe,img,object,embed,link,base,form,input,a[href^=\"http\"]')].length") == 0
    assert browser.run("return [...document.querySelectorAll('*')].flatMap((e) => [...e.attributes]).filter((a) => /^on|^style$/.test(a.name)).length") == 0
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.requests() == ["file://" + pages[name]] and browser.complaints() == []


def test_should_a_script_get_in_it_would_not_run(browser, pages, maker):
    """The second line of defence: the page's own policy."""
    with open(pages["one"], encoding="utf-8") as file:
        page = file.read()
    with open(maker.path("broken.html"), "w", encoding="utf-8") as file:
        file.write(page.replace("<main", "<script>window.hacked=1</script><img src=http://127.0.0.1:9/x onerror=window.hacked=2>"
                                "<style>main{display:none}</style><main", 1))
    browser.look()
    browser.open(maker.path("broken.html"))
    assert browser.run("return window.hacked") is None
    assert browser.run("return getComputedStyle(document.querySelector('main')).display") == "block"
    assert len(browser.complaints()) >= 3


def test_hostile_names_are_shown_as_what_they_are(browser, pages):
    browser.look()
    browser.open(pages["hostile"])
    text = browser.run("return document.body.innerText")
    shown = [name for name in page_data.HOSTILE if re.fullmatch("[ -~]+", name)]
    assert len(shown) > 20 and [name for name in shown[:10] if name not in text] == []
    for name in ("[U+202E]gnp.exe", "zero[U+200B]width[U+200D]joiner", "soft[U+00AD]hyphen"):
        assert name in text, name
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad]", text)


@pytest.mark.parametrize("name", ALL)
def test_it_can_be_read_by_everybody(browser, pages, name):
    browser.look()
    browser.open(pages[name])
    assert browser.run(STRUCTURE) == []
    for scheme in ("light", "dark"):
        browser.look(scheme)
        browser.run("document.querySelectorAll('details').forEach((e) => e.open = true)")
        low, count = browser.run(CONTRAST)
        assert low == [] and count >= 5, (scheme, low)
    assert browser.run("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    # Paper is white, whatever the screen.
    browser.look("dark", media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_wider_than_the_window(browser, pages, name):
    browser.open(pages[name])
    browser.run("document.querySelectorAll('details').forEach((e) => e.open = true)")
    for width in (320, 400, 1280, 2400):
        browser.look(width=width)
        assert browser.run("return [window.innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [width, True]


def test_the_keyboard_reaches_it(browser, pages):
    from selenium.webdriver.common.keys import Keys  # pylint: disable=import-outside-toplevel
    browser.look()
    browser.open(pages["some"])
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.run("return document.activeElement.className") == "skip"
    assert browser.run("return document.activeElement.getBoundingClientRect().left") >= 0
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return location.hash") == "#main"


# Machado, Oliveira, Fernandes 2009, severity 1.
BLINDNESS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "nobody": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


def lab(colour, matrix):
    """CIELAB of what somebody sees."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
              for value in (int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5))]
    seen = [min(max(sum(weight * value for weight, value in zip(row, linear)), 0), 1) for row in matrix]
    xyz = [sum(weight * value for weight, value in zip(row, seen)) for row in (
        (0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505), (0.2126, 0.7152, 0.0722), (0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089))]
    x, y, z = [value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz]
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_colours_that_stand_together_are_told_apart_by_everybody(browser, pages):
    browser.open(pages["some"])
    for scheme in ("light", "dark"):
        browser.look(scheme)
        for series in (("imap", "pop3", "smtp"), ("up", "watch", "pass")):
            colours = [browser.run("return getComputedStyle(document.documentElement).getPropertyValue('--%s').trim()" % name) for name in series]
            for who, matrix in BLINDNESS.items():
                seen = [lab(colour, matrix) for colour in colours]
                for one, other in ((0, 1), (0, 2), (1, 2)):
                    distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other])) ** 0.5
                    assert distance > 20, (scheme, who, series[one], series[other], distance)


def test_it_prints(browser, pages, screenshots):
    browser.look(media="")
    browser.open(pages["some"])
    data = base64.b64decode(browser.cdp("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)["data"])
    with open(os.path.join(screenshots, "report.pdf"), "wb") as file:
        file.write(data)
    assert data.startswith(b"%PDF")
    if shutil.which("pdfinfo"):
        pages_count = int(re.search("Pages: +([0-9]+)", subprocess.run(["pdfinfo", file.name], check=True, capture_output=True, text=True).stdout)[1])
        assert 3 <= pages_count <= 12


@pytest.mark.parametrize("name, scheme, width", [("some", "light", 1280), ("some", "dark", 1280), ("some", "light", 400), ("one", "light", 1280),
                                                 ("many", "light", 1280)])
def test_pictures_for_people(browser, pages, screenshots, name, scheme, width):
    browser.look(scheme, width)
    browser.open(pages[name])
    path = os.path.join(screenshots, "report-%s-%s-%d.png" % (name, scheme, width))
    browser.picture(path)
    assert os.path.getsize(path) > 20000
