"""Before and after a moment, with some items held out of everything that behaviour teaches.

A cold item is one that training has no event of. Those that the data has are few and odd, so a
seeded share of the items with events on both sides is made cold: their earlier events go.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np

from kindred.indexer.behaviour.interactions import Interactions
from kindred.rerank.examples import MAX_SEEDS, NEXT, Examples, cut_sessions
from kindred.rerank.stages import sample
from kindred.retrieval.segments import offsets_of
from kindred.schemas.clock import DAY
from kindred.schemas.ranking import Mask, Rows

Asking = Literal["visit", "history"]
"""What comes before the answer: the rest of the visit, or all that the visitor did before."""
HELD_OUT = 0.1
"""Share of the items with events on both sides that is held out of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One moment and one draw of held-out items, over N catalogue rows."""

    moment: int
    """µs UTC: training sees what came before it"""
    log: Interactions
    """All that training may see"""
    held_out: Mask
    """bool[N]: rows that were made cold"""
    known: Mask
    """bool[N]: rows with an event in `log`"""
    questions: Examples
    """What is asked: one answer each"""
    asking: Asking

    @property
    def cold(self) -> Mask:
        """bool[Q]: training has no event of the answer."""
        return ~self.known[self.questions.followed]

    @property
    def digest(self) -> str:
        """Names what training may see, beside the log that it was drawn from."""
        return blake2b(np.flatnonzero(self.held_out).tobytes(), digest_size=6).hexdigest()


def make_split(
    log: Interactions,
    active: Mask,
    moment: int,
    *,
    seed: int,
    questions: int,
    held_out: float = HELD_OUT,
    asking: Asking | None = None,
) -> Split:
    """Split actions that count at `moment`; `active` bool[N] tells which rows may be answers.

    At most `questions` are kept, drawn with the seed. `asking` None chooses by `natural_asking`.
    """
    size = len(active)
    past, future = log.before(moment), log.between(moment, int(log.ts[-1]) + 1 if len(log) else 0)
    before = np.bincount(past.row, minlength=size) > 0
    after = np.bincount(future.row, minlength=size) > 0
    random = np.random.default_rng(seed)
    both = np.flatnonzero(before & after & active)
    cold = np.zeros(size, np.bool_)
    cold[random.choice(both, round(held_out * len(both)), replace=False)] = True
    kept = past.take(~cold[past.row])
    chosen = asking or natural_asking(future, log)
    asked = cut_sessions(future, rng=None) if chosen == "visit" else next_of_history(log, moment)
    asked = asked.take(np.flatnonzero(active[asked.followed]))
    return Split(
        moment=moment,
        log=kept,
        held_out=cold,
        known=np.bincount(kept.row, minlength=size) > 0,
        questions=sample(asked, questions, random),
        asking=chosen,
    )


def natural_asking(future: Interactions, log: Interactions) -> Asking:
    """`visit` where visits are short and hold two items; else all that a visitor did before.

    Some logs have no visits: a visitor's whole life is one, or each event is.
    """
    visits = log.sessions()
    if not len(visits) or not len(future):
        return "visit"
    ends = visits.index[visits.offsets[1:] - 1]
    lasted = log.ts[ends] - log.ts[visits.index[visits.offsets[:-1]]]
    count = np.diff(visits.offsets)
    events = count.sum()
    long = count[lasted > DAY].sum()
    lonely = count[count < 2].sum()
    return "history" if 2 * (long + lonely) > events else "visit"


def next_of_history(log: Interactions, moment: int) -> Examples:
    """Each action from `moment` on is an answer, to the visitor's newest other items before it.

    An item that the visitor had before is no answer; at most `MAX_SEEDS` seeds, oldest first.
    """
    order = np.argsort(log.subject, kind="stable")
    subject, row, ts = log.subject[order], log.row[order], log.ts[order]
    first = _first_of_each(subject.astype(np.int64) * (int(row.max(initial=0)) + 1) + row)
    starts = np.flatnonzero(np.append(True, subject[1:] != subject[:-1])[: len(subject)])
    begin = np.repeat(starts, np.diff(np.append(starts, len(subject))))
    asked = np.flatnonzero((ts >= moment) & first & (begin < np.arange(len(subject))))
    low = np.maximum(begin[asked], asked - MAX_SEEDS)
    offsets = offsets_of(asked - low)
    seeds = np.arange(offsets[-1]) + np.repeat(low - offsets[:-1], asked - low)
    examples = Examples(
        offsets=offsets,
        seeds=row[seeds],
        actions=log.action[order][seeds],
        followed_offsets=np.arange(len(asked) + 1),
        followed=row[asked],
        grades=np.full(len(asked), NEXT, np.int8),
        now=ts[asked],
        subject=subject[asked],
        users=log.users[subject[asked]] if len(log.users) else log.users,
    )
    return examples.take(np.argsort(examples.now, kind="stable"))


def _first_of_each(keys: Rows) -> Mask:
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
