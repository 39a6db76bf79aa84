"""What a run's answers say, in words: has something been lost, since when, and which checkpoint is older than that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_layerscope.measurements.behaviour import ANSWERS, CHANGE, KL, LOSS, MEAN, RETENTION
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.functional.interval import Interval
    from lightning_layerscope.measurements import Measurement, RunRecord
    from lightning_layerscope.measurements.alert import Alert


def read_answers(record: RunRecord) -> list[str]:
    """Paragraphs for people; none where answers were not measured."""
    return [*_answers(record), *_retention(record), *(f"Alert: {alert.text}." for alert in alerts(record))]


def alerts(record: RunRecord) -> list[Alert]:
    """All alerts of the run, in order."""
    return [alert for each in record.measurements for alert in each.alerts]


def first_loss(record: RunRecord) -> tuple[Measurement | None, Measurement] | None:
    """The first measurement at which the retention loss has risen beyond its interval, and the last one before it."""
    before, tolerance = None, float(record.config.get("retention_tolerance", 0.0))
    for each in record.measurements:
        change = each.behaviour.scores.get(f"{RETENTION}/{CHANGE}", {}).get(MEAN)
        if change is not None and change.low > tolerance:
            return before, each
        before = each
    return None


def last_checkpoint(record: RunRecord, step: int) -> int | None:
    """Step of the last checkpoint before a step, of those that were seen to be written."""
    return max((each for each in record.config.get("checkpoints", ()) if each < step), default=None)


def _answers(record: RunRecord) -> list[str]:
    first, last = record.measurements[0].behaviour.scores, record.measurements[-1].behaviour.scores
    parts = []
    if (loss := last.get(f"{ANSWERS}/{LOSS}", {}).get(MEAN)) is not None:
        began = first.get(f"{ANSWERS}/{LOSS}", {}).get(MEAN)
        change = f"; it began at {began.value:.3f}" if began is not None and len(record) > 1 else ""
        parts.append(f"the loss of the probes' reference answers is {_with_span(loss)} nats per answer token{change}")
    if (kl := last.get(f"{ANSWERS}/{KL}", {}).get(MEAN)) is not None:
        parts.append(f"the next word behind the prompts diverges from that at the beginning by {_with_span(kl)} nats")
    return [f"Mean over tasks: {', and '.join(parts)}."] if parts else []


def _retention(record: RunRecord) -> list[str]:
    last = record.measurements[-1]
    change = last.behaviour.scores.get(f"{RETENTION}/{CHANGE}", {})
    if MEAN not in change:
        return []
    tolerance = float(record.config.get("retention_tolerance", 0.0))
    beyond = f" by more than {tolerance:g}" if tolerance else ""
    changed = f"{change[MEAN].value:+.3f} nats per answer token since the beginning ({_span(change[MEAN])})"
    lost = first_loss(record)
    if lost is None:
        return [
            f"Retention: no loss{beyond} that this run could see. On {count(len(change) - 1, 'task')} that must not be "
            f"lost the loss has changed by {changed}."
        ]
    before, left = lost
    checkpoint = last_checkpoint(record, left.step)
    older = (
        f"the last checkpoint before it is that of step {checkpoint:,}"
        if checkpoint is not None
        else "no checkpoint before it was seen"
    )
    inside = f", at step {before.step:,} it had not" if before is not None else ""
    now = "" if left is last else f" At step {last.step:,} the loss has changed by {changed}."
    at = left.behaviour.scores[f"{RETENTION}/{CHANGE}"][MEAN]
    return [
        f"Retention: by step {left.step:,} the loss on what must not be lost had left its interval{beyond}: "
        f"{at.value:+.3f} nats per answer token ({_span(at)}){inside}; {older}.{now}"
    ]


def _with_span(interval: Interval) -> str:
    return f"{interval.value:.3f}{f' ({_span(interval)})' if math.isfinite(interval.low) else ''}"


def _span(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"
