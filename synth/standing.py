"""How a run stands, read from its balancer."""

from __future__ import annotations

from synth.balancer import Balancer
from synth.report import Snapshot, Status, Tally, TopicView


def full_topics(balancer: Balancer) -> frozenset[str]:
    """Topics that hold their target; they stay full."""
    return frozenset(topic for topic in balancer.topics if balancer.full(topic))


def standing(balancer: Balancer, stop: tuple[Status, str] | None) -> tuple[Status, str]:
    """The status of a run that may have been told to `stop`, and why it is so."""
    short = [topic for topic in balancer.topics if not balancer.full(topic)]
    if not short:
        return Status.COMPLETE, "every topic holds its target"
    if stop is not None:
        return stop
    if not balancer.finished():
        return Status.RUNNING, ""
    return (
        Status.SATURATED,
        f"{len(short)} of {len(balancer.topics)} topics spent their "
        f"{balancer.attempts_per_record} attempts per record: {', '.join(short)}",
    )


def _topic_views(balancer: Balancer) -> tuple[TopicView, ...]:
    """Every topic as the live display shows it."""
    views = []
    for topic, state in balancer.topics.items():
        word = "full" if balancer.full(topic) else ""
        if balancer.saturated(topic):
            word = "saturated"
        rate = state.question_rate.mean * state.answer_rate.mean
        held = state.target, state.committed, state.asked, state.reserved
        views.append(TopicView(topic, *held, rate, word, balancer.escalation(topic)))
    return tuple(views)


def snapshot(
    balancer: Balancer,
    tally: Tally,
    stop: tuple[Status, str] | None,
    restored: tuple[int, int],
    generate_s: float,
) -> Snapshot:
    """What the live display shows.

    Args:
        restored: records and completion tokens that this start of the run found in its store.
    """
    status, reason = standing(balancer, stop)
    views = _topic_views(balancer)
    accepted, tokens = tally.accepted, tally.tokens.completion
    return Snapshot(
        status=status,
        reason=reason,
        topics=views,
        accepted=accepted,
        target=sum(view.target for view in views),
        rejected=tally.rejected,
        completion_tokens=tokens,
        session_tokens=tokens - restored[1],
        session_accepted=accepted - restored[0],
        generate_s=generate_s,
        finished=balancer.finished() or stop is not None,
        stopping=stop is not None,
    )
