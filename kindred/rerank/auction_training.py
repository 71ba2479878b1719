"""The ranker of auction places (PLX), learned from what stood at them alone (SPEC B14, §2.3).

An auction draws its items from a pool by their need of views, so what stood at its places was not
put there for being good; and it is paid for views, so whatever came of one counts, not purchases
alone. A list has two or three such places: the ranker learns which of them was acted on, and is
judged by that against the similarity that the auction scores by without it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from kindred.rerank.alternatives import try_objectives
from kindred.rerank.auction_pool import SPACES
from kindred.rerank.features import FEATURES
from kindred.rerank.gate import ACTED_RANK, by_slice, verdict
from kindred.rerank.joined_training import judged_ranker
from kindred.rerank.judged import Judged, Parts
from kindred.rerank.training import TrainedRanker, silent
from kindred.schemas.ranking import Doubles
from kindred.schemas.settings import RankerSettings


def train_on_auctions(
    parts: Parts,
    settings: RankerSettings,
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> TrainedRanker:
    """Fit on the rows of auction places, judge against the similarity on the last part.

    The gate: what was acted on ranks better than by similarity, with a 95 % interval, paired and
    clustered by visitor, that excludes zero.
    """
    graded = msgspec.structs.replace(settings, objective="graded")
    tried = try_objectives(parts, graded, seed=seed, threads=threads, on_tree=on_tree)
    ranker, judging = tried.ranker, parts.judging
    space, similarity = similarity_of(judging)
    shown, at = judging.lists.shown, judging.lists.at
    orders = {
        "ranker": ranker.score(judging.lists.features),
        "merge": similarity,
        "shown": -shown.position[at].astype(np.float64),
    }
    compared = by_slice(judging, judging.labels > 0, orders, seed)
    told = {
        "learned from": "auction places",
        "judged by": ACTED_RANK,
        "judged against": f"the similarity in {space}, which stands as `merge`",
        "compared": compared,
    }
    gate = verdict(compared, ACTED_RANK, rival=f"the similarity in {space}")
    return judged_ranker(tried, parts, settings, gate, told)


def similarity_of(part: Judged) -> tuple[str, Doubles]:
    """(space, float64[n]): the logged cosine to the question in the first space of the pool that
    knows any; what is unknown comes last."""
    for space in SPACES:
        name = f"cos_{space}_session"
        if name in FEATURES:
            column = part.lists.column(name).astype(np.float64)
            if not np.isnan(column).all():
                return space, np.nan_to_num(column, nan=-2.0)
    return "no space", np.zeros(len(part.labels))
