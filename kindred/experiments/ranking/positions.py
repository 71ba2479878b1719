"""What LightGBM's `position` is worth (SPEC C4): its own ranking sample under simulated clicks.

The sample's true grades decide how likely a document is clicked once it is looked at; a baseline
order, by one weak feature, decides where it stands. The trained rankers see clicks alone, and are
judged by the true grades of other queries. The cascade is the user of LightGBM's own test: reads
from the top, may stop at every document. The position-based one looks at rank r with chance 1 / r.

What LightGBM's test asserts, +0.03 NDCG@3, is one draw of one user's clicks on 201 queries; other
draws of the same clicks scatter about it. So every seed here draws its clicks anew, and the same is
asked of more users, whose clicks tell more about positions and less about chance. It is asked with
the trees of that test, and with the ranker's own ways of growing trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.lambdamart import RankingSet, grow_ranker
from kindred.rerank.metrics import shown_ndcg
from kindred.retrieval.segments import offsets_of, owners_of
from kindred.schemas.errors import InputError
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import RankerSettings

Clicks = Literal["cascade", "position-based"]
CLICKS: tuple[Clicks, ...] = ("cascade", "position-based")
PLAIN, DEBIASED, TRUTH = "plain", "position", "true grades"
SAMPLE = "lightgbm_lambdarank"
"""Folder of the sample among the public data sets."""
CLICKED = (0.4, 0.6, 0.7, 0.8, 0.9)
"""Chance of a click by true grade, once looked at (LightGBM's own test)."""
STOPS = 0.2
"""Chance that the cascade's user stops after a document (ibid.)."""
BASELINE = 34
"""The feature whose order is shown (ibid.)."""
TREES = 50
OWN, TEST = "the ranker", "LightGBM's test"
"""Whose way of growing trees"""
GROWERS = (TEST, OWN)
TEST_PARAMETERS: Mapping[str, Any] = {
    "objective": "lambdarank", "bagging_freq": 1, "bagging_fraction": 0.9, "min_data_in_leaf": 50,
    "min_sum_hessian_in_leaf": 5.0, "deterministic": True, "force_row_wise": True, "verbosity": -1,
}  # fmt: skip
"""LightGBM's own test"""
SETTINGS = RankerSettings(learning_rate=0.1, min_data_in_leaf=50, position_regularization=0.0)
DEPTHS = (3, 10)
WANTED, WANTED_WINS = 0.03, 0.8
"""Least mean lead in NDCG@3, and least share of seeds with any lead (SPEC C4)."""


@dataclass(frozen=True, slots=True)
class Graded:
    """n documents of Q queries with true grades."""

    features: Floats
    """float32[n, F]"""
    grades: NDArray[np.int8]
    offsets: Rows
    """int64[Q + 1]"""


def read_sample(folder: Path) -> tuple[Graded, Graded]:
    """(training, test) of LightGBM's ranking sample; InputError where a file is missing."""
    from sklearn.datasets import load_svmlight_file

    def part(name: str, width: int | None) -> Graded:
        path = folder / name
        for needed in (path, path.with_name(f"{name}.query")):
            if not needed.is_file():
                raise InputError(f"{needed} is missing: LightGBM's ranking sample", "$.data")
        features, grades = load_svmlight_file(str(path), n_features=width, zero_based=True)
        lengths = np.loadtxt(path.with_name(f"{name}.query"), dtype=np.int64)
        return Graded(
            features.toarray().astype(np.float32), grades.astype(np.int8), offsets_of(lengths)
        )

    training = part("rank.train", None)
    return training, part("rank.test", training.features.shape[1])


def shown_places(graded: Graded) -> NDArray[np.int32]:
    """int32[n]: place of each document in the baseline's order of its query, 0 = first."""
    owners = owners_of(graded.offsets)
    order = np.lexsort((-graded.features[:, BASELINE], owners))
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order)) - graded.offsets[owners]
    return places


def simulated_clicks(
    graded: Graded, places: NDArray[np.int32], clicks: Clicks, rng: np.random.Generator
) -> Mask:
    """bool[n]: what one user of each query clicks."""
    owners = owners_of(graded.offsets)
    if clicks == "position-based":
        looked = rng.random(len(places)) < 1 / (places + 1.0)
    else:
        read = rng.geometric(STOPS, len(graded.offsets) - 1)  # documents until the stop
        looked = places < read[owners]
    clicked: Mask = looked & (rng.random(len(places)) < np.array(CLICKED)[graded.grades])
    return clicked


def with_users(graded: Graded, users: int) -> Graded:
    """Every query once for each user."""
    return Graded(
        np.tile(graded.features, (users, 1)),
        np.tile(graded.grades, users),
        offsets_of(np.tile(np.diff(graded.offsets), users)),
    )


def judge(
    training: Graded, test: Graded, clicks: Clicks, grower: str, seed: int, threads: int = 0
) -> dict[str, dict[str, float]]:
    """NDCG of the test queries by ranker and depth: plain, and with `position`."""
    rng = np.random.default_rng([seed, CLICKS.index(clicks)])
    places = shown_places(training)
    clicked = simulated_clicks(training, places, clicks, rng)
    plain = RankingSet(
        training.features, clicked.astype(np.int8), np.diff(training.offsets), None, None
    )
    sets = {PLAIN: plain, DEBIASED: replace(plain, positions=places)}
    return {name: ndcg_of(given, test, grower, seed, threads) for name, given in sets.items()}


def by_grades(
    training: Graded, test: Graded, grower: str, seed: int, threads: int = 0
) -> dict[str, float]:
    """NDCG of the test queries by depth, learned from true grades: what clicks could teach."""
    given = RankingSet(training.features, training.grades, np.diff(training.offsets))
    return ndcg_of(given, test, grower, seed, threads)


def ndcg_of(
    given: RankingSet, test: Graded, grower: str, seed: int, threads: int = 0
) -> dict[str, float]:
    """NDCG by depth of the test queries as trees order them that learned from `given`."""
    if grower == OWN:
        names = tuple(f"feature_{i}" for i in range(given.features.shape[1]))
        ranker = grow_ranker(
            given, names, SETTINGS, trees=TREES, seed=seed, threads=threads, on_tree=_silent
        )
        scores = ranker.score(test.features)
    else:
        scores = _as_tested(given, test, seed, threads)
    return {
        f"NDCG@{k}": float(np.nanmean(shown_ndcg(scores, test.grades, test.offsets, k)))
        for k in DEPTHS
    }


def _as_tested(given: RankingSet, test: Graded, seed: int, threads: int) -> Doubles:
    """float64[n]: scores by trees grown as LightGBM's own test grows them."""
    import lightgbm

    data = lightgbm.Dataset(
        given.features, given.grades, group=given.lengths, position=given.positions
    )
    parameters = {**TEST_PARAMETERS, "seed": seed, "num_threads": threads}
    scores = lightgbm.train(parameters, data, TREES).predict(test.features)
    return np.asarray(scores, np.float64)


def _silent(_: int) -> None:
    return None


def measure_positions(
    folder: Path,
    *,
    seeds: Sequence[int],
    users: Sequence[int] = (1,),
    on_seed: Callable[[int], None],
    threads: int = 0,
) -> dict[str, Any]:
    """Click models and ways of growing trees over the seeds: means, paired leads with intervals,
    and the verdicts."""
    training, test = read_sample(folder)
    truth = {
        grower: [by_grades(training, test, grower, seed, threads) for seed in seeds]
        for grower in GROWERS
    }
    found = []
    for count in users:
        given = with_users(training, count)
        for grower, model in product(GROWERS, CLICKS):
            leads = []
            for seed, best in zip(seeds, truth[grower], strict=True):
                leads.append({**judge(given, test, model, grower, seed, threads), TRUTH: best})
                on_seed(1)
            told = summary(leads, np.random.default_rng(seeds[0]))
            about = {"trees": grower, "clicks": model, "users of each query": count}
            found.append({**about, **told})
    return {
        "queries": {"training": len(training.offsets) - 1, "test": len(test.offsets) - 1},
        "seeds": list(seeds),
        "trees": TREES,
        "rows": found,
        "verdicts": [verdict(row) for row in found],
    }


def summary(
    found: Sequence[dict[str, dict[str, float]]], rng: np.random.Generator
) -> dict[str, Any]:
    """Means by ranker and depth; `position` − plain with its 95 % bootstrap interval over seeds."""
    out: dict[str, Any] = {"means": {}, "lead": {}, "wins": {}}
    for name in (PLAIN, DEBIASED, TRUTH):
        out["means"][name] = {
            depth: round(float(np.mean([f[name][depth] for f in found])), 5)
            for depth in found[0][name]
        }
    for depth in found[0][PLAIN]:
        leads = np.array([f[DEBIASED][depth] - f[PLAIN][depth] for f in found])
        out["lead"][depth] = [round(x, 5) for x in interval(leads, rng)]
        out["wins"][depth] = round(float((leads > 0).mean()), 4)
    return out


def interval(values: Doubles, rng: np.random.Generator) -> tuple[float, float, float]:
    """(mean, low, high): 95 % bootstrap interval of a mean."""
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    """Whether `position` leads by what is wanted, in enough of the seeds."""
    lead, wins = row["lead"]["NDCG@3"], row["wins"]["NDCG@3"]
    users = row["users of each query"]
    return {
        "claim": f"`position` leads the plain ranker, trees as of {row['trees']}, "
        f"{row['clicks']} clicks of {users} user{'s' if users > 1 else ''} a query, wins "
        f"{wins:.0%} of the seeds",
        "measure": "NDCG@3",
        "difference": lead,
        "wanted": f">= {WANTED:+} and {WANTED_WINS:.0%} wins",
        "excludes zero": lead[1] > 0,
        "passed": bool(lead[0] >= WANTED and lead[1] > 0 and wins >= WANTED_WINS),
    }
