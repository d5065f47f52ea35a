"""The review page: a list of records, one record with its form, and the verdicts they make.

Rendered on the server and bound to loopback; nothing is loaded from elsewhere. A form carries a
token and requests must name a loopback host, so that no other page of the browser can send one.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from synth.config import METRICS
from synth.gates import Draft, Flag, Severity, Stage
from synth.gates.registry import Gates
from synth.review.queue import Item, Records
from synth.review.verdicts import Decision, Verdict, Verdicts, now

_HERE = Path(__file__).parent
LOOPBACK = ["127.0.0.1", "localhost"]
_PER_PAGE = 50
_SHOWN = ("unreviewed", "flagged", "all", *Decision)
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'"
)


class ReviewApp:
    """The pages over one run.

    Args:
        title: of the run.
        records: what there is to review.
        verdicts: where decisions go.
        gates: what an edited text has to pass, unless the reviewer insists.
    """

    def __init__(self, title: str, records: Records, verdicts: Verdicts, gates: Gates):
        self._title = title
        self._records = records
        self._verdicts = verdicts
        self._gates = gates
        self._token = secrets.token_urlsafe(16)
        loader = FileSystemLoader(_HERE / "templates")
        self._pages = Environment(loader=loader, autoescape=True, trim_blocks=True)
        self._pages.globals.update(title=title, token=self._token, METRICS=METRICS)

    def asgi(self) -> Starlette:
        """The application, for a server or a test."""
        return Starlette(
            routes=[
                Route("/", self._list),
                Route("/records/{id}", self._record),
                Route("/records/{id}", self._decide, methods=["POST"]),
                Mount("/static", StaticFiles(directory=_HERE / "static")),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
            ],
        )

    def _page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        text = self._pages.get_template(name).render(**values)
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(text, status, headers=headers)

    # -- the list ------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        self._verdicts.refresh()
        latest = self._verdicts.latest
        show = request.query_params.get("show", "unreviewed")
        topic = request.query_params.get("topic", "")
        number = request.query_params.get("page", "1")
        page = int(number) if number.isdecimal() else 1
        chosen = [
            item
            for item in self._records.items
            if _is_shown(item, show, latest) and topic in ("", item.topic)
        ]
        pages = max(1, -(-len(chosen) // _PER_PAGE))
        page = min(max(page, 1), pages)
        topics = sorted({item.topic for item in self._records.items})
        done = [v for v in latest.values() if v.id in self._records]

        def link(**changes: Any) -> str:
            return "/?" + urlencode({"show": show, "topic": topic, "page": page} | changes)

        return self._page(
            "list.html",
            items=chosen[(page - 1) * _PER_PAGE : page * _PER_PAGE],
            latest=latest,
            count=len(chosen),
            page=page,
            pages=pages,
            show=show,
            shown=_SHOWN,
            topic=topic,
            topics=topics,
            link=link,
            total=len(self._records.items),
            decided=Counter(str(verdict.decision) for verdict in done),
        )

    # -- one record ----------------------------------------------------------------

    async def _record(self, request: Request) -> Response:
        record_id = request.path_params["id"]
        if record_id not in self._records:
            return self._page("missing.html", 404, id=record_id)
        self._verdicts.refresh()
        return self._record_page(record_id)

    def _record_page(
        self, record_id: str, status: int = 200, form: Mapping[str, str] | None = None, **more: Any
    ) -> HTMLResponse:
        row = self._records.row(record_id)
        verdict = self._verdicts.latest.get(record_id)
        findings = row["findings"] or []
        filled = form or {
            "question": (verdict and verdict.question) or row["question"],
            "answer": (verdict and verdict.answer) or row["answer"],
            "reason": verdict.reason if verdict else "",
            "reviewer": self._last_reviewer(),
        }
        return self._page(
            "record.html",
            status,
            row=row,
            verdict=verdict,
            findings=findings,
            question=marked(row["question"], findings, Stage.QUESTION),
            answer=marked(row["answer"], findings, Stage.ANSWER),
            form=filled,
            next_id=self._next(record_id),
            **{"red": [], "problem": "", **more},
        )

    def _last_reviewer(self) -> str:
        return next((v.reviewer for v in reversed([*self._verdicts.latest.values()])), "")

    def _next(self, record_id: str) -> str | None:
        """The first record after this one, in the list's order, that nobody has decided on."""
        ids = [item.id for item in self._records.items]
        at = ids.index(record_id) + 1 if record_id in ids else 0
        open_ids = (i for i in ids[at:] + ids[:at] if i not in self._verdicts.latest)
        return next((i for i in open_ids if i != record_id), None)

    async def _decide(self, request: Request) -> Response:
        record_id = request.path_params["id"]
        if record_id not in self._records:
            return self._page("missing.html", 404, id=record_id)
        fields = await request.form()
        form = {key: str(value).replace("\r\n", "\n").strip() for key, value in fields.items()}
        if not secrets.compare_digest(form.get("token", "").encode(), self._token.encode()):
            problem = "This page is from an earlier start of the server; decide again."
            return self._record_page(record_id, 403, form, problem=problem)
        if form.get("decision") not in list(Decision):
            return self._record_page(record_id, 400, form, problem="Choose accept, reject or edit.")
        decision = Decision(form["decision"])
        texts = {key: form.get(key, "") for key in ("question", "answer")}
        if problem := self._problem(record_id, decision, texts):
            return self._record_page(record_id, 400, form, problem=problem)
        if decision is Decision.EDIT and not form.get("anyway"):
            red = self._red(texts)
            if red:
                return self._record_page(record_id, 400, form, red=red)
        self._verdicts.add(
            Verdict(
                id=record_id,
                decision=decision,
                reason=form.get("reason", ""),
                reviewer=form.get("reviewer", ""),
                at=now(),
                **(texts if decision is Decision.EDIT else {}),
            )
        )
        following = self._next(record_id)
        return RedirectResponse(f"/records/{following}" if following else "/?show=all", 303)

    def _problem(self, record_id: str, decision: Decision, texts: Mapping[str, str]) -> str:
        row = self._records.row(record_id)
        changed = any(texts[key] != row[key] for key in texts)
        if decision is Decision.EDIT and not all(texts.values()):
            return "An edit needs both texts."
        if decision is Decision.EDIT and not changed:
            return "Nothing was changed: press Accept, or edit a text first."
        if decision is Decision.ACCEPT and changed:
            return "The texts were changed: press Save edit, or undo the changes."
        return ""

    def _red(self, texts: Mapping[str, str]) -> list[Flag]:
        drafts = (
            Draft(Stage.QUESTION, texts["question"]),
            Draft(Stage.ANSWER, texts["answer"], texts["question"]),
        )
        return [
            finding.flag(draft)
            for draft in drafts
            for finding in self._gates.findings(draft)
            if finding.severity is Severity.RED
        ]


def _is_shown(item: Item, show: str, latest: Mapping[str, Verdict]) -> bool:
    verdict = latest.get(item.id)
    if show == "flagged":
        return bool(item.rules)
    if show == "unreviewed":
        return verdict is None
    return show == "all" or (verdict is not None and verdict.decision == show)


def marked(text: str, findings: Sequence[Mapping[str, str]], where: Stage) -> Markup:
    """`text` as HTML, with what the gates noted in it marked and named."""
    spans = []
    for finding in findings:
        at = text.find(finding["span"]) if finding["where"] == where and finding["span"] else -1
        if at >= 0:
            spans.append((at, at + len(finding["span"]), finding["rule"]))
    parts, end = [], 0
    for start, stop, rule in sorted(spans):
        if start < end:
            continue
        parts += [escape(text[end:start]), Markup('<mark title="{}">').format(rule)]
        parts += [escape(text[start:stop]), Markup("</mark>")]
        end = stop
    return Markup("").join([*parts, escape(text[end:])])
