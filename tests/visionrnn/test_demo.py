"""The page of `visionrnn demo`: what it answers, what it refuses, and that a browser shows it."""

import http.client
import json
import re
import shutil
import tempfile
import threading

import numpy as np
import pytest
from PIL import Image

from captioning import Captioner
from ocr import TextReader
from segmentation import Segmenter
from tests.conftest import shape_picture
from video import ActionClassifier
from visionrnn.demo import tabs as tabs_module
from visionrnn.demo.command import EXAMPLES, FOLDER, STATIC, Server, tabs
from visionrnn.demo.tabs import TABS
from vqa import Answerer

PLACE = FOLDER / "examples"


@pytest.fixture(scope="module")
def server():
    """The server on a free port."""
    with Server(0, 1.0) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def ask(server):
    """Send a request -> status, values."""

    def send(method, path, body=None, **headers):
        port = server.server_address[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.putrequest(method, path, skip_host=True)
        headers = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body or b"")), **headers}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        kind = answer.getheader("Content-Type")
        connection.close()
        return answer.status, json.loads(content) if "json" in kind else content

    return send


def test_every_tab_has_an_example_that_is_there():
    assert [tab["verb"] for tab in tabs()] == list(TABS) == list(EXAMPLES)
    named = {name for names in EXAMPLES.values() for name in names}
    assert named == {file.name for file in PLACE.iterdir()}


def test_nothing_is_loaded_from_elsewhere():
    for name, _ in STATIC.values():
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert "@import" not in text


def test_the_page_and_its_parts_are_served(ask):
    for path in STATIC:
        assert ask("GET", path)[0] == 200
    assert ask("GET", "/examples/cat.jpg")[1] == (PLACE / "cat.jpg").read_bytes()
    for path in ("/examples/../command.py", "/examples/%2e%2e/command.py", "/gone", "/run/caption"):
        assert ask("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/run/caption", b"x", {"Host": "evil.example"}, 403, "only the page of this machine"),
        ("/run/caption", b"x", {"Origin": "http://evil.example"}, 403, "only the page of this machine"),
        ("/run/dance", b"x", {}, 404, "not here"),
        ("/run/caption", b"", {}, 400, "the file is empty"),
        ("/run/caption", b"", {"Content-Length": "2000000"}, 413, "has 2.0 MB, and at most 1 MB"),
        ("/run/caption", b"", {"Content-Length": "many"}, 400, "empty"),
        ("/run/caption?name=notes.txt", b"no picture", {}, 422, "notes.txt"),
        ("/run/read?name=../../etc/x.pdf", b"%PDF-1.4 broken", {}, 422, "x.pdf"),
        ("/run/classify?name=c.mp4", b"no clip", {}, 422, "c.mp4"),
        ("/run/classify?name=c.mp4&model=none", b"no clip", {}, 422, "no model 'none'"),
        ("/run/forecast?name=t.csv", b"a,b\nx,y\n", {}, 422, "t.csv"),
        ("/run/forecast?name=t.csv", b"\xff\x00\xfe", {}, 422, "t.csv"),
    ],
)
def test_what_cannot_be_done_is_said(ask, path, body, headers, status, said):
    found, values = ask("POST", path, body, **headers)
    assert found == status
    assert said in values["error"]
    assert tempfile.gettempdir() not in values["error"]


def test_uploads_are_deleted_and_a_bug_is_no_end(ask, monkeypatch):
    seen = []

    def fail(file, options):
        seen.append(file)
        assert file.read_bytes() == b"x"
        raise RuntimeError("secret")

    monkeypatch.setitem(TABS, "caption", fail)
    status, values = ask("POST", "/run/caption?name=a.jpg", b"x")
    assert (status, "secret" in values["error"], seen[0].parent.exists()) == (500, False, False)
    assert ask("GET", "/tabs")[0] == 200


def test_a_question_is_needed(ask):
    photo = (PLACE / "cat.jpg").read_bytes()
    status, values = ask("POST", "/run/ask?name=cat.jpg&question=%20", photo)
    assert (status, "no question" in values["error"]) == (422, True)


def test_transparent_and_turned_pictures_are_shown_as_they_are_seen(tmp_path, monkeypatch):
    picture = shape_picture("red", "square").resize((64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    picture.save(tmp_path / "turned.jpg", exif=exif)
    width, height = tabs_module.read(tmp_path / "turned.jpg", {})["size"]
    assert (width, height) == (32, 64)


def driver_of_chromium():
    """A headless Chromium, or a skip where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1100,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@pytest.mark.timeout(600)
def test_a_person_tries_every_tab(server, tmp_path):
    """Each example is clicked, what is shown is what the classes give, and nothing comes from elsewhere."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser = driver_of_chromium()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        browser.get(address)
        WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, "[role=tab]"))

        def panel(verb):
            return browser.find_element(By.ID, f"panel-{verb}")

        def finished(verb, name):
            def done(_):
                status = panel(verb).find_element(By.CSS_SELECTOR, ".status")
                bad = "bad" in status.get_attribute("class")
                return (bad or f"{name}: done" in status.text) and status

            return WebDriverWait(browser, 180).until(done).text

        def shown(verb):
            browser.find_element(By.ID, f"tab-{verb}").click()
            panel(verb).find_element(By.CSS_SELECTOR, ".examples button").click()
            assert "done in" in finished(verb, EXAMPLES[verb][0])
            return panel(verb).find_element(By.CSS_SELECTOR, ".result")

        def texts(where, selector):
            return [node.text for node in where.find_elements(By.CSS_SELECTOR, selector)]

        best = Captioner.from_pretrained("flickr8k").caption(
            [PLACE / EXAMPLES["caption"][0]], beam_size=6, groups=3, n_best=3
        )[0]
        result = shown("caption")
        assert " ".join(texts(result, ".word")) == " ".join(best.tokens)
        assert texts(result, ".others button") == [c.text for c in (best, *best.alternatives)]
        words = result.find_elements(By.CSS_SELECTOR, ".word")
        words[-1].click()
        drawn = "return arguments[0].toDataURL()"
        canvas = result.find_element(By.TAG_NAME, "canvas")
        last = browser.execute_script(drawn, canvas)
        words[1].click()
        assert words[1].get_attribute("aria-pressed") == "true"
        assert browser.execute_script(drawn, canvas) != last

        page = TextReader.from_pretrained("english").read(PLACE / EXAMPLES["read"][0])
        result = shown("read")
        text = result.find_element(By.TAG_NAME, "textarea").get_property("value")
        assert text == page.text
        assert len(result.find_elements(By.TAG_NAME, "polygon")) == len(page.lines)

        shares = Segmenter.from_pretrained("camvid").segment(PLACE / EXAMPLES["segment"][0]).shares
        rows = texts(shown("segment"), "tr")
        assert rows == [
            f"{name.replace('_', ' ')} {share:.1%}".replace("%", " %") for name, share in shares.items()
        ]

        result = shown("ask")
        field = panel("ask").find_element(By.NAME, "question")
        asked = [field.get_property("value"), "what colour is the cup?"]
        field.clear()
        field.send_keys(asked[1] + "\n")
        WebDriverWait(browser, 60).until(lambda _: len(texts(panel("ask"), "dt")) == 2)
        answerer = Answerer.from_pretrained("daquar")
        answers = [answerer.answer(PLACE / EXAMPLES["ask"][0], question).text for question in asked]
        assert [text.splitlines()[0] for text in texts(panel("ask"), "dd")] == answers

        result = shown("classify")
        action = ActionClassifier.from_pretrained("utd-mhad").classify(PLACE / EXAMPLES["classify"][0])
        assert texts(result, ".bar span") == [str(action)]
        assert len(result.find_elements(By.TAG_NAME, "polyline")) == 4

        result = shown("forecast")
        assert len(texts(result, "tbody tr")) == 12
        assert texts(result, "tbody tr")[0].startswith("2026-01 ")

        (tmp_path / "torn.jpg").write_bytes((PLACE / "cat.jpg").read_bytes()[:2000])
        (tmp_path / "large.jpg").write_bytes(np.random.default_rng(0).bytes(1_100_000))
        browser.find_element(By.ID, "tab-caption").click()
        for name, said in (("torn.jpg", "torn.jpg"), ("large.jpg", "at most 1 MB")):
            panel("caption").find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(tmp_path / name))
            status = WebDriverWait(browser, 30).until(
                lambda _: panel("caption").find_element(By.CSS_SELECTOR, ".status.bad")
            )
            assert said in status.text
            browser.execute_script("arguments[0].className = 'status'", status)

        browser.set_window_size(500, 900)
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        for tab in tabs():
            browser.find_element(By.ID, f"tab-{tab['verb']}").click()
            assert browser.execute_script(wide) == 0, tab["verb"]

        assert [
            entry
            for entry in browser.get_log("browser")
            if "413" not in entry["message"] and "422" not in entry["message"]
        ] == []
        sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        addresses = [
            m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"
        ]
        assert all(url.startswith((address, "data:")) for url in addresses)
    finally:
        browser.quit()
