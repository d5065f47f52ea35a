"""The review pages: over HTTP, and as a person sees them in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from synth.gates.registry import Gates
from synth.review.app import ReviewApp, marked
from synth.review.queue import read_records
from synth.review.verdicts import Verdicts
from synth.store import run_files
from tests.finished_run import ANSWERS, NOTED, QUESTIONS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Visitor:
    """A reviewer's browser, without the browser."""

    def __init__(self, folder: Path):
        files = run_files(str(folder))
        self.records = read_records(files, seed=7)
        self.verdicts = Verdicts(files.review)
        app = ReviewApp("a run", self.records, self.verdicts, Gates()).asgi()
        self.http = TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False)
        self.ids = [item.id for item in self.records.items]

    def page(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def decide(self, record_id: str, **fields: str) -> tuple[int, str]:
        """Send the form of a record as its page has it, with some fields changed."""
        row = self.records.row(record_id)
        token = re.search(r'name="token" value="([^"]+)"', self.page(f"/records/{record_id}"))
        assert token
        form = {"token": token[1], "question": row["question"], "answer": row["answer"]} | fields
        answer = self.http.post(f"/records/{record_id}", data=form)
        return answer.status_code, answer.headers.get("location", answer.text)


@pytest.fixture
def visitor(run_folder: Path) -> Visitor:
    return Visitor(run_folder)


def test_the_list_shows_flagged_records_first_and_what_is_left(visitor: Visitor) -> None:
    page = visitor.page("/")
    found = re.findall(r'href="/records/([^"]+)"', page)
    assert found == visitor.ids
    assert "3 to go" in page
    assert re.findall(r'href="/records/([^"]+)"', visitor.page("/?show=flagged")) == found[:1]
    assert "No record here" in visitor.page("/?show=accept&topic=sleep-improvement&page=7")


def test_accepting_leads_to_the_next_record_and_in_the_end_to_the_list(visitor: Visitor) -> None:
    one, two, three = visitor.ids
    assert visitor.decide(one, decision="accept") == (303, f"/records/{two}")
    assert visitor.decide(two, decision="reject", reason="cold") == (303, f"/records/{three}")
    assert visitor.decide(three, decision="accept", reviewer="Ana")[1] == "/?show=all"
    assert visitor.verdicts.latest[two].reason == "cold"
    assert "2 accepted, 1 rejected, 0 edited" in visitor.page("/")
    assert 'value="Ana"' in visitor.page(f"/records/{one}")


def test_an_edit_is_gated_unless_the_reviewer_insists(visitor: Visitor) -> None:
    record = visitor.ids[0]
    bad = {"decision": "edit", "answer": "As an AI language model I cannot feel. Try to rest."}
    status, page = visitor.decide(record, **bad)
    assert status == 400
    assert "meta_talk" in page
    assert "As an AI language model" in page
    assert record not in visitor.verdicts.latest
    assert visitor.decide(record, **bad, anyway="yes")[0] == 303
    assert visitor.verdicts.latest[record].answer == bad["answer"]
    assert "As an AI language model" in visitor.page(f"/records/{record}")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"decision": "maybe"}, 400, "Choose accept"),
        ({"decision": "edit"}, 400, "Nothing was changed"),
        ({"decision": "edit", "answer": " "}, 400, "needs both texts"),
        ({"decision": "accept", "answer": "Changed."}, 400, "press Save edit"),
        ({"decision": "accept", "token": "stölen"}, 403, "earlier start"),
    ],
)
def test_a_form_that_cannot_be_meant_changes_nothing(
    visitor: Visitor, fields: dict[str, str], status: int, message: str
) -> None:
    code, page = visitor.decide(visitor.ids[1], **fields)
    assert (code, message in page) == (status, True)
    assert not visitor.verdicts.latest


def test_only_a_loopback_name_is_served_and_unknown_records_are_not(visitor: Visitor) -> None:
    assert visitor.http.get("/", headers={"host": "evil.example"}).status_code == 400
    assert visitor.http.get("/records/no-such").status_code == 404
    assert visitor.http.post("/records/no-such", data={}).status_code == 404


def test_marked_text_is_escaped() -> None:
    finding = {"rule": 'r"<', "where": "answer", "span": "<b>"}
    html = str(marked("a <b> & c", [finding], NOTED.where))
    assert html == 'a <mark title="r&#34;&lt;">&lt;b&gt;</mark> &amp; c'


@pytest.fixture
def served(run_folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "synth", "review", str(run_folder), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address
    yield address[0]
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver")
def test_a_person_reviews_three_records_in_chromium(served: str, run_folder: Path) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.expected_conditions import staleness_of
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))

    def follow(selector: str) -> None:
        """Click, and wait until the next page is there."""
        before = browser.find_element(By.TAG_NAME, "html")
        browser.find_element(By.CSS_SELECTOR, selector).click()
        WebDriverWait(browser, 30).until(staleness_of(before))

    try:
        browser.get(served)
        table = browser.find_element(By.TAG_NAME, "table")
        assert table.value_of_css_property("border-collapse") == "collapse"  # the style is there
        follow("tbody a")
        assert browser.find_element(By.TAG_NAME, "mark").text == NOTED.span
        browser.find_element(By.NAME, "reason").send_keys("a stock phrase")
        follow("button.reject")

        assert browser.find_element(By.ID, "answer-text").text == ANSWERS[2]
        assert "second gives 5" in browser.find_element(By.TAG_NAME, "table").text
        browser.find_element(By.TAG_NAME, "summary").click()
        field = browser.find_element(By.NAME, "answer")
        field.send_keys(" Then breathe out slowly.")
        follow("button[value=edit]")

        assert browser.find_element(By.ID, "answer-text").text == ANSWERS[0]
        follow("button.accept")
        assert "1 accepted, 1 rejected, 1 edited" in browser.page_source
        assert browser.get_log("browser") == []
    finally:
        browser.quit()
    files = sorted((run_folder / "review").iterdir())
    stored = [json.loads(file.read_text()) for file in files]
    assert [verdict["decision"] for verdict in stored] == ["reject", "edit", "accept"]
    assert stored[0]["reason"] == "a stock phrase"
    assert stored[1]["answer"] == f"{ANSWERS[2]} Then breathe out slowly."
    assert stored[1]["question"] == QUESTIONS[2]
