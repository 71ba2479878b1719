"""Questions about answers: why an item is absent, what other settings would change.

They run the funnel as an answer does, and leave no trace: no decision, no count.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import msgspec
from msgspec import UNSET

from kindred.api.asked_before import AskAgain
from kindred.api.questions import Question
from kindred.indexer.catalogue import Catalogue
from kindred.rerank.arms import auction_chance
from kindred.rerank.comparing import differences, expected, summed
from kindred.rerank.funnel import NOTHING_BESIDE, Asked, Funnel, Ranked, run
from kindred.rerank.rules import RuleBook
from kindred.rerank.why_words import why_words
from kindred.rerank.whynot import Lost, why_not
from kindred.retrieval.sources import SOURCES
from kindred.schemas.errors import InputError, UnknownItem
from kindred.schemas.partial import overlaid
from kindred.schemas.preview import Expected, Preview, PreviewedList, PreviewRequest
from kindred.schemas.query import SimilarRequest
from kindred.schemas.rule import fault_in
from kindred.schemas.settings import DiversitySettings, RecallSettings, formula_told
from kindred.schemas.why import LostAt, WhyNot, WhyNotRequest

LISTS = 20
"""Lists that a preview tells in full."""
PATIENCE_S = 10.0
"""What a preview may take; a sample that is not through by then is cut short."""
MOST = 5_000
"""Candidates that a preview may ask for, of a source or in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request understood: the question, what else is asked, and the funnel to answer it."""

    funnel: Funnel
    question: Question
    asked: Asked = NOTHING_BESIDE


Prepare = Callable[[SimilarRequest, Funnel], Prepared]
"""(request, the funnel in use) -> how it is answered"""


def look_up_absence(
    request: WhyNotRequest,
    funnel: Funnel,
    prepare: Prepare,
    catalogue: Catalogue,
    versions: Mapping[str, str],
) -> WhyNot:
    """Where the answer to a request loses an item; UnknownItem for a seed that nobody knows."""
    try:
        made = prepare(request.request, funnel)
    except InputError as error:
        raise _below(error, "request") from error
    row = int(funnel.corpus.columns.rows([request.item_id])[0])
    k = request.request.k
    if row < 0:
        known = catalogue.get(request.item_id) is not None
        lost = Lost(stage=LostAt.PENDING if known else LostAt.UNKNOWN)
    else:
        beside = replace(made.asked, chance=auction_chance("why-not"))
        lost = why_not(made.funnel, made.question.queries, row, k=k, asked=beside)
    return WhyNot(
        item_id=request.item_id,
        stage=lost.stage,
        reason=why_words(lost, k),
        k=k,
        place=lost.place,
        places=lost.places,
        conditions=lost.conditions,
        rules=lost.rules,
        sources=lost.sources,
        candidates=lost.candidates,
        spaces=lost.spaces,
        together=lost.together,
        standing=lost.standing,
        degraded=[*made.question.degraded, *lost.degraded],
        versions=dict(versions),
    )


def preview(
    request: PreviewRequest,
    funnel: Funnel,
    prepare: Prepare,
    ask_again: AskAgain,
    versions: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Preview:
    """Both answers to one request, or to a sample of logged ones, beside each other.

    A sample is asked again until PATIENCE_S have passed. No deadline cuts an answer short here: one
    that was late and one that was not would differ by that alone. InputError for settings or rules
    that could not serve.
    """
    until = clock() + PATIENCE_S
    tried = tried_funnel(funnel, request)
    requests: list[tuple[str | None, SimilarRequest]]
    left_out: Counter[str] = Counter()
    if request.request is not None:
        requests = [(None, request.request)]
    else:
        before = ask_again(request.sample or 1)
        requests, left_out = list(before.requests.items()), before.left_out
    lists: list[PreviewedList] = []
    for nth, (decision, one) in enumerate(requests):
        if nth and clock() > until:
            left_out["no time"] = len(requests) - nth
            break
        try:
            lists.append(_compared(one, decision, funnel, tried, prepare))
        except UnknownItem as error:
            if decision is None:
                raise _below(error, "request") from error
            left_out["its item is gone"] += 1
        except InputError as error:
            if decision is None:
                raise _below(error, "request") from error
            left_out["it cannot be asked any more"] += 1
    ordered = sorted(lists, key=_changes, reverse=True)
    return Preview(
        questions=len(lists),
        changed=sum(_changes(one) > 0 for one in lists),
        current=summed([one.current for one in lists]),
        proposed=summed([one.proposed for one in lists]),
        lists=ordered[:LISTS],
        left_out={reason: count for reason, count in left_out.items() if count},
        versions=dict(versions),
    )


def tried_funnel(funnel: Funnel, request: PreviewRequest) -> Funnel:
    """The funnel with what the request wants to try; InputError with the path at fault."""
    told, columns = request.settings, funnel.corpus.columns
    recall = overlaid(funnel.recall, told.recall, "$.settings.recall")
    check_recall(recall)
    blend = overlaid(funnel.blend, told.blend, "$.settings.blend")
    formula = None if told.blend is UNSET else formula_told(msgspec.to_builtins(told.blend))
    if formula is not None:
        blend = msgspec.structs.replace(blend, formula=formula)
    rules = funnel.rules
    if request.rules is not None:
        for at, rule in enumerate(request.rules):
            if (fault := fault_in(rule)) is not None:
                raise InputError(fault[1], f"$.rules[{at}]{fault[0]}")
        rules = RuleBook(request.rules, columns)
    return replace(
        funnel,
        recall=recall,
        blend=blend,
        diversity=funnel.diversity
        if told.diversity is UNSET
        else overlaid(
            funnel.diversity or DiversitySettings(), told.diversity, "$.settings.diversity"
        ),
        # Learned weights stand for the settings' own until somebody wants to see these.
        merge=funnel.merge if recall == funnel.recall or recall.learned_merge else None,
        rules=rules,
    )


def check_recall(recall: RecallSettings) -> None:
    """Raise InputError for sources that do not exist, and for more than a preview may ask for."""
    path = "$.settings.recall"
    for name, source in recall.sources.items():
        if name not in SOURCES:
            raise InputError(f"there are {', '.join(SOURCES)}", f"{path}.sources.{name}")
        if source.quota > MOST:
            raise InputError(f"a preview asks for {MOST} at most", f"{path}.sources.{name}.quota")
    if recall.candidates > MOST:
        raise InputError(f"a preview asks for {MOST} at most", f"{path}.candidates")


def _compared(
    request: SimilarRequest,
    decision: str | None,
    funnel: Funnel,
    tried: Funnel,
    prepare: Prepare,
) -> PreviewedList:
    k, columns = request.k, funnel.corpus.columns

    def answered(by: Funnel) -> tuple[Ranked, Expected]:
        made = prepare(request, by)
        # Both draw the same lots.
        beside = replace(made.asked, chance=auction_chance(decision or "preview"))
        queries = made.question.queries
        ranked = run(made.funnel, queries, k=k, asked=beside)
        return ranked, expected(ranked, columns, made.funnel.blend, k)

    (old, current), (new, proposed) = answered(funnel), answered(tried)
    moved, entered, left = differences(old, new, k, columns)
    seed = request.item_id if request.item is None else request.item.item_id
    return PreviewedList(
        seed=seed,
        decision_id=decision,
        moved=moved,
        entered=entered,
        left=left,
        current=current,
        proposed=proposed,
        degraded=list(dict.fromkeys((*old.degraded, *new.degraded))),
    )


def _changes(one: PreviewedList) -> int:
    return len(one.moved) + len(one.entered) + len(one.left)


def _below(error: InputError, name: str) -> InputError:
    """The same fault where the request stands below `name`."""
    path = f"$.{name}{error.path[1:]}"
    if isinstance(error, UnknownItem):
        return UnknownItem(error.item_id, path)
    return InputError(error.message, path)
