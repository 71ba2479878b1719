"""From a catalogue and its events to a ranked answer, in process, on a small seeded market."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest
from small_market import small_events, small_items

from kindred.api.batch import recommend_file
from kindred.api.learning import train
from kindred.api.past import evaluate_diversity, evaluate_next_item
from kindred.api.wiring import build, open_engine
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.models import ModelStore
from kindred.schemas.errors import InputError
from kindred.schemas.event import Action
from kindred.schemas.progress import SilentProgress
from kindred.schemas.query import (
    Filters,
    GeoRadius,
    SessionAction,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.settings import (
    ApiSettings,
    EncoderSettings,
    KindredSettings,
    RankerSettings,
    RepresentationSettings,
)
from kindred.schemas.workspace import Workspace

NAMES = [f"item/{n}" for n in range(96)]
SETTINGS = KindredSettings(
    api=ApiSettings(deadline_ms=60_000),  # a busy machine must not spoil an order
    encoders=EncoderSettings(spaces=("attributes",)),
    representations=RepresentationSettings(stages=()),
    ranker=RankerSettings(
        trees=12, learning_rate=0.2, min_data_in_leaf=20, queries=900, window_days=30.0,
        window_share=0.4, development_share=0.4,
    ),
    notes=("ad rates are simulated",),
)  # fmt: skip
QUIET = SilentProgress()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    held = Workspace(tmp_path_factory.mktemp("market"))
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert(small_items(NAMES))
    catalogue.close()
    rows = [msgspec.to_builtins(event) for event in small_events(NAMES, users=200)]
    Lake(held.lake).append(event_columns(pl.DataFrame(rows)))
    train(held, SETTINGS, QUIET)
    build(held, SETTINGS, QUIET)
    return held


@pytest.fixture(scope="module")
def engine(workspace: Workspace):
    opened = open_engine(workspace, SETTINGS, "test")
    yield opened
    opened.close()


def test_a_second_training_does_nothing_and_new_events_make_it_stale(workspace, tmp_path):
    again = train(workspace, SETTINGS, QUIET)
    assert {row.state for row in again} <= {"fresh", "failed its gate"}
    assert all(row.seconds == 0 for row in again)


def test_the_ranker_learned_what_the_market_holds(workspace):
    card = ModelStore(workspace.models).card("ranker")
    assert card.gate.passed
    low = card.metrics["ndcg@10 ranker - merge"][1]
    assert low > 0


def test_a_similar_answer_is_ranked_blended_and_says_how(engine):
    answer = engine.similar(SimilarRequest(item_id="item/0", k=6, explain=True), decision_id="d")
    assert [i.position for i in answer.items] == [1, 2, 3, 4, 5, 6]
    assert "item/0" not in {i.item_id for i in answer.items}
    assert answer.degraded == []
    assert {"recall", "features", "rank", "blend", "total"} <= answer.ms.keys()
    assert {"index", "pairs", "als", "ranker"} <= answer.versions.keys()
    assert answer.notes == ["ad rates are simulated"]
    assert all(0 < i.probability <= 1 for i in answer.items)
    assert all(i.sources for i in answer.items)
    assert "popularity" in {f.feature for f in answer.items[0].explain.features}
    assert set(answer.plan) == {"als", "attributes"}


def test_a_filter_holds_for_every_source_and_a_region_too(engine):
    near = GeoRadius(lat=50.5, lon=8.5, radius_m=40_000)
    filters = Filters(categories=(("kitchen",),), price_max_minor=2000, geo=near)
    answer = engine.similar(
        SimilarRequest(item_id="item/0", k=50, filters=filters), decision_id="d"
    )
    assert answer.items
    for shown in answer.items:
        item = engine.get_item(shown.item_id)
        assert item.category[0] == "kitchen"
        assert item.price_minor <= 2000
        assert item.location is not None


def test_a_cold_seed_finds_its_own_kind(engine):
    item = msgspec.structs.replace(small_items(NAMES)[2], item_id="new", brand="brand 2")
    answer = engine.similar(SimilarRequest(item=item, k=5), decision_id="d")
    kinds = [engine.get_item(i.item_id).category for i in answer.items]
    assert kinds.count(item.category) >= 3


def test_a_session_may_come_back_to_its_items_unless_told_otherwise(engine):
    actions = (SessionAction(item_id="item/3"), SessionAction(item_id="item/15"))
    free = engine.session_recall(SessionRecallRequest(actions=actions, n=96), decision_id="d")
    barred = engine.session_recall(
        SessionRecallRequest(actions=actions, n=96, exclude_seen=True), decision_id="d"
    )
    seen = {"item/3", "item/15"}
    assert seen <= {i.item_id for i in free.items}
    assert not seen & {i.item_id for i in barred.items}


def test_only_the_sources_that_are_asked_answer_and_unknown_ones_are_refused(engine):
    actions = (SessionAction(item_id="item/3"),)
    request = SessionRecallRequest(actions=actions, sources=("als",))
    answer = engine.session_recall(request, decision_id="d")
    assert answer.items
    assert all(set(i.sources) == {"als"} for i in answer.items)
    with pytest.raises(InputError, match="horoscope") as refused:
        engine.session_recall(
            SessionRecallRequest(actions=actions, sources=("horoscope",)), decision_id="d"
        )
    assert refused.value.path == "$.sources"


def test_an_unknown_visitor_gets_what_is_popular_and_the_answer_says_so(engine):
    request = SessionRecallRequest(subject=Subject(user_id="nobody"), n=5)
    answer = engine.session_recall(request, decision_id="d")
    assert len(answer.items) == 5
    assert any("session" in stage for stage in answer.degraded)


def test_a_listing_sent_inline_is_no_answer_to_itself(engine):
    item = engine.get_item("item/0")
    answer = engine.similar(SimilarRequest(item=item, k=50), decision_id="d")
    assert "item/0" not in {i.item_id for i in answer.items}


def test_what_an_action_is_called_does_not_change_a_single_seeds_answer(engine):
    def asked(action: Action) -> list[str]:
        actions = (SessionAction(item_id="item/3", action=action),)
        request = SessionRecallRequest(actions=actions, n=20)
        return [i.item_id for i in engine.session_recall(request, decision_id="d").items]

    assert asked(Action.VIEW) == asked(Action.PURCHASE)


def test_without_the_blend_the_order_is_that_of_the_probabilities(engine):
    answer = engine.similar(SimilarRequest(item_id="item/0", k=50, blend=False), decision_id="d")
    by_seller: dict[str, int] = {}
    free = []
    for shown in answer.items:
        seller = engine.get_item(shown.item_id).seller_id
        by_seller[seller] = by_seller.get(seller, 0) + 1
        if by_seller[seller] <= SETTINGS.blend.seller_cap:
            free.append(shown.probability)
    assert free == sorted(free, reverse=True)


def test_a_disliked_item_pushes_its_neighbours_away_and_does_not_come_back(engine):
    plain = engine.similar(SimilarRequest(item_id="item/0", k=20), decision_id="d")
    away = engine.similar(
        SimilarRequest(item_id="item/0", dislike=(plain.items[0].item_id,), k=20), decision_id="d"
    )
    assert plain.items[0].item_id not in {i.item_id for i in away.items}


def test_a_failing_store_costs_its_sources_and_not_the_answer(engine):
    class Broken:
        def search(self, searches):
            from kindred.schemas.errors import StoreUnavailable

            raise StoreUnavailable("no answer")

    from dataclasses import replace

    from kindred.api.served import Bundle

    sound = engine.served._bundle
    corpus = replace(sound.funnel.corpus, store=Broken(), exact=Broken())
    engine.served._bundle = Bundle(
        live=sound.live, funnel=replace(sound.funnel, corpus=corpus), versions=sound.versions
    )
    try:
        answer = engine.similar(SimilarRequest(item_id="item/0"), decision_id="d")
    finally:
        engine.served._bundle = sound
    assert len(answer.items) == 6
    assert answer.degraded[0].startswith("recall")


def test_neighbours_tell_cosines_and_differences(engine):
    found = engine.neighbors("item/0", None, 5, Filters(), explain=True)
    assert found.space == "als"
    assert len(found.neighbours) == 5
    scores = [n.score for n in found.neighbours]
    assert scores == sorted(scores, reverse=True)
    assert "attributes" in found.neighbours[0].by_space
    with pytest.raises(InputError, match="no vector space"):
        engine.neighbors("item/0", "smell", 5, Filters(), explain=False)


def acted(item_id: str, ts: int) -> dict[str, object]:
    return {"item_id": item_id, "action": "view", "ts": ts}


def queries(path: Path) -> Path:
    pl.DataFrame(
        {
            "query_id": ["a", "b", "c"],
            "session": [
                [acted("item/0", 5), acted("item/12", 9)],
                [acted("nowhere", 1)],
                None,
            ],
            "seeds": [None, None, ["item/1"]],
            "filters": [None, None, '{"categories":[["kitchen"]]}'],
            "k": [3, None, None],
        }
    ).write_parquet(path)  # fmt: skip
    return path


def test_a_file_of_queries_is_answered_in_order(workspace, engine, tmp_path):
    target = tmp_path / "out.parquet"
    summary = recommend_file(
        workspace.root, queries(tmp_path / "q.parquet"), target, k=5, stage="blend", workers=1,
        progress=QUIET,
    )  # fmt: skip
    answers = pl.read_parquet(target)
    assert summary["queries"] == 3
    assert summary["known_items"] == 3
    assert answers.columns == ["query_id", "rank", "item_id", "score", "sources"]
    counts = dict(answers.group_by("query_id").len().iter_rows())
    assert counts["a"] == 3
    assert counts["b"] == 5
    for query in ("a", "b", "c"):
        part = answers.filter(pl.col("query_id") == query)
        assert part["rank"].to_list() == list(range(1, len(part) + 1))
    kitchen = answers.filter(pl.col("query_id") == "c")["item_id"]
    assert "item/1" not in kitchen
    assert {engine.get_item(i).category[0] for i in kitchen} == {"kitchen"}


def test_a_withdrawn_item_is_not_recommended_and_no_queries_give_an_empty_file(
    workspace, engine, tmp_path
):
    target = tmp_path / "out.parquet"
    source = tmp_path / "q.parquet"

    def answered(frame: pl.DataFrame) -> pl.DataFrame:
        frame.write_parquet(source)
        recommend_file(
            workspace.root, source, target, k=20, stage="blend", workers=1, progress=QUIET
        )
        return pl.read_parquet(target)

    ask = pl.DataFrame({"query_id": ["a"], "seeds": [["item/0"]]})
    gone = answered(ask)["item_id"][0]
    item = engine.get_item(gone)
    engine.withdraw(gone)
    assert gone not in answered(ask)["item_id"]
    engine.put_items([item])
    assert answered(ask.head(0)).columns == ["query_id", "rank", "item_id", "score", "sources"]


def test_too_little_to_learn_from_fails_the_gate_and_nothing_else(tmp_path):
    held = Workspace(tmp_path)
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert(small_items(NAMES))
    catalogue.close()
    few = small_events(NAMES, users=4, visits=3)
    Lake(held.lake).append(event_columns(pl.DataFrame([msgspec.to_builtins(e) for e in few])))
    rows = {row.stage: row for row in train(held, SETTINGS, QUIET)}
    assert rows["ranker"].state == "failed its gate"
    assert rows["pairs"].state == "trained"


@pytest.mark.parametrize(
    ("frame", "path"),
    [
        ({"seeds": [["a"]]}, "$.query_id"),
        ({"query_id": [1]}, "$.seeds"),
        ({"query_id": [1], "seeds": ["a"]}, "$.seeds"),
        ({"query_id": [1], "session": [[{"sku": "a"}]]}, "$.session"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_column_at_fault(tmp_path, frame, path):
    from kindred.rerank.batch import check_columns

    with pytest.raises(InputError) as refused:
        check_columns(pl.DataFrame(frame))
    assert refused.value.path == path


def test_what_spreading_costs_is_told_beside_what_it_gives(workspace):
    report = evaluate_diversity(
        workspace, SETTINGS, QUIET, until="80%", k=6, strengths=(0.1, 5.0), queries=300,
        repeats=None,
    )  # fmt: skip
    rows = {(row["kind"], row["strength"]): row for row in report["rows"]}
    assert len(rows) == 1 + 1 + 1 + 3 + 3 + 6
    plain = rows["as it is", 0.0]["mean"]
    assert plain["NDCG by probability"] == pytest.approx(1.0), "the order of the probabilities"
    assert rows["same title", 0.0]["mean"]["repeated titles"] == 0.0
    capped = [rows["seller cap", cap]["mean"]["sellers"] for cap in (1.0, 2.0, 3.0)]
    assert capped == sorted(capped, reverse=True)
    for (kind, strength), row in rows.items():
        if kind == "as it is":
            assert row["difference"] == {}
            continue
        mean, change = row["mean"], row["difference"]
        assert mean["NDCG by probability"] <= plain["NDCG by probability"] + 1e-12
        assert change["hit rate"][0] == pytest.approx(mean["hit rate"] - plain["hit rate"])
        if kind in ("category", "both") and strength == 5.0:
            assert change["categories"][1] > 0
            assert change["NDCG by probability"][2] < 0
        if kind in ("seller", "both") and strength == 5.0:
            assert mean["sellers"] > plain["sellers"]
    for kind in ("category", "seller", "both"):
        costs = [rows[kind, s]["mean"]["NDCG by probability"] for s in (0.1, 5.0)]
        assert costs[0] >= costs[1]


def test_evaluation_trains_on_the_past_only_and_compares_in_pairs(workspace):
    report = evaluate_next_item(
        workspace, SETTINGS, QUIET, until="80%", ks=(5, 10), queries=400, repeats=None
    )
    kinds = {m["kind"] for m in report["methods"].values()}
    assert kinds == {"baseline", "source", "funnel"}
    ranked = report["methods"]["ranked"]
    assert ranked["HR@5"][0] <= ranked["HR@10"][0]
    low, high = ranked["HR@10"][1:]
    assert 0 <= low <= ranked["HR@10"][0] <= high <= 1
    popularity = report["methods"]["popularity"]
    assert ranked["HR@10"][0] > popularity["HR@10"][0]
    lead = report["differences"]["best simple baseline"]
    name = lead["method"]
    difference = ranked["HR@5"][0] - report["methods"][name]["HR@5"][0]
    assert lead["HR@5"][0] == pytest.approx(difference, abs=2e-5)
