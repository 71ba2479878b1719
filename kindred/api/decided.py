"""From an answer to the decision that the log keeps of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from kindred.api.asked_before import flags_of
from kindred.events.decision_log import LoggedDecision
from kindred.indexer.columns import Columns
from kindred.rerank.explore import Explored
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.held import HeldCandidates, hold
from kindred.rerank.shadow import SHADOW, STAGE, ShadowRanker, ShadowScores
from kindred.retrieval.visitor import Seeds
from kindred.schemas.decision import Decision, DecisionContext, Shown
from kindred.schemas.query import Answer, SessionRecallRequest, SimilarRequest, Subject
from kindred.schemas.ranking import Doubles, Mask
from kindred.schemas.settings import BlendArm

RECALL_SURFACE = "session_recall"
"""Surface of answers whose request names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An answer and what it was made of; `record` runs on the log's thread."""

    request: SimilarRequest | SessionRecallRequest
    seeds: Seeds
    answer: Answer
    occurred_at: int
    traceparent: str | None
    epsilon: float
    propensity: Doubles
    explore: Mask
    candidate_count: int
    held: HeldCandidates
    degraded: tuple[str, ...]
    ms: dict[str, float]
    shadow: ShadowRanker | None = None
    arm: BlendArm | None = None

    def record(self, writer: str, sequence: int) -> Decision:
        """The record of `schemas.decision`; an answer of recall alone shows nothing."""
        request, answer = self.request, self.answer
        similar = isinstance(request, SimilarRequest)
        # What another ranker makes of recalled candidates, and shows, is not known here.
        items = answer.items if similar else []
        candidates, versions = self.held.record(), answer.versions
        shadow = self._shadow_scores()
        if shadow is not None:
            candidates = msgspec.structs.replace(candidates, shadow=shadow.scores.tolist())
            versions = {**versions, SHADOW: shadow.version}
        return Decision(
            decision_id=answer.decision_id,
            occurred_at=self.occurred_at,
            surface=request.surface if isinstance(request, SimilarRequest) else RECALL_SURFACE,
            subject=request.subject or Subject(),
            context=_context(request, self.seeds),
            shown=Shown(
                item_id=[item.item_id for item in items],
                propensity=self.propensity[: len(items)].tolist(),
                explore=self.explore[: len(items)].tolist(),
                sponsored=[item.sponsored for item in items],
                campaign=[item.campaign for item in items],
            ),
            candidates=candidates,
            candidate_count=self.candidate_count,
            policy="funnel" if similar else "recall",
            versions=versions,
            flags=flags_of(request) | arm_flags(self.arm),
            slate_propensity=None if self.arm is None else self.arm.share,
            epsilon=self.epsilon,
            degraded=self.degraded,
            ms=self.ms,
            traceparent=self.traceparent,
            feature_spec=None if self.held.features is None else SPECIFICATION,
            writer=writer,
            sequence=sequence,
        )

    def _shadow_scores(self) -> ShadowScores | None:
        features = self.held.features
        if self.shadow is None or features is None or self.held.candidates.score is None:
            return None
        return self.shadow.score(features, self.answer.versions.get(STAGE))


def decided(
    request: SimilarRequest | SessionRecallRequest,
    seeds: Seeds,
    answer: Answer,
    shown: Explored,
    columns: Columns,
    *,
    most: int,
    epsilon: float,
    occurred_at: int,
    traceparent: str | None,
    shadow: ShadowRanker | None = None,
    arm: BlendArm | None = None,
) -> LoggedDecision:
    """What the log takes: nothing in it changes any more, and making the record is left to it.

    `most` candidates are kept, with their features; `shadow` scores these on the log's thread;
    `arm` is the strength that was drawn for the blend.
    """
    held = hold(shown.ranked.candidates, columns, most)
    of = Decided(
        request=request,
        seeds=seeds,
        answer=answer,
        occurred_at=occurred_at,
        traceparent=traceparent,
        epsilon=epsilon,
        propensity=shown.propensity,
        explore=shown.explore,
        candidate_count=len(shown.ranked.candidates),
        held=held,
        degraded=tuple(answer.degraded),
        ms=dict(answer.ms),
        shadow=shadow,
        arm=arm,
    )
    return LoggedDecision(answer.decision_id, occurred_at, of.record, held.features)


def arm_flags(arm: BlendArm | None) -> dict[str, str]:
    """Which strength ordered the answer, where several are tried; its chance is the slate's."""
    return {} if arm is None else {f"blend_{arm.parameter}": f"{arm.strength:g}"}


def _context(request: SimilarRequest | SessionRecallRequest, seeds: Seeds) -> DecisionContext:
    session = tuple(action.item_id for action in seeds.actions)
    if not isinstance(request, SimilarRequest):
        return DecisionContext(session=session, place=request.place)
    seed = request.item_id if request.item is None else request.item.item_id
    return DecisionContext(
        seed_item=seed, session=session, place=request.place, platform=request.platform
    )
