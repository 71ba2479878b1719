"""One serving process's engine, from the workspace and the settings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import structlog

from kindred.api import learning
from kindred.api.answering import Answering
from kindred.api.asked_before import asked_before
from kindred.api.auctions import LiveAuctions
from kindred.api.ids import time_ordered_id
from kindred.api.questions import Questions
from kindred.api.ruled import LiveRules, Visits
from kindred.api.served import Bundle, Served
from kindred.api.service import Service
from kindred.api.wiring.models import load_models, modules_of
from kindred.events.bought import Bought
from kindred.events.check import EventChecks
from kindred.events.decision_log import DecisionLog
from kindred.events.feature_names import keep_feature_names
from kindred.events.intake import EventIntake
from kindred.events.log import EventLog
from kindred.events.sessions import Sessions
from kindred.indexer.behaviour.interactions import action_weights
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import make_encoders
from kindred.indexer.listings import Listings
from kindred.indexer.live import Live
from kindred.indexer.models import ModelStore
from kindred.indexer.versions import IndexFolder
from kindred.rerank.corpus import corpus_of
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.joined_stages import AUCTION
from kindred.rerank.rule_store import RuleStore
from kindred.rerank.shadow import STAGE, ShadowRanker
from kindred.rerank.tree_walk import process_walk
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import ArtefactError, SettingsError
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


def open_engine(workspace: Workspace, settings: KindredSettings, name: str) -> Service:
    """One serving process's engine; `name` tells its copy of the shard from the others'."""
    if settings.api.compiled_ranker and ModelStore(workspace.models).current(STAGE) is not None:
        process_walk().prepare_aside()  # it is there by the time that the index is open
    catalogue = Catalogue.open(workspace.catalogue)
    cache = EncodingCache(workspace.encodings)
    encoders = make_encoders(settings.encoders)
    folder = IndexFolder(workspace.index)

    modules = modules_of(workspace, settings, encoders, cache)

    auctions = LiveAuctions.of(workspace, settings)

    def open_bundle(current: Bundle | None) -> Bundle | None:
        newest = folder.current()
        if current is not None and (newest is None or newest == current.versions["index"]):
            return None
        live = Live.open(
            workspace, settings, catalogue, cache, encoders, replica=name, modules=modules
        )
        try:
            bundle = bundle_of(workspace, settings, live)
            held = None if auctions is None else auctions.deliveries
            return replace(bundle, funnel=replace(bundle.funnel, deliveries=held))
        except BaseException:
            live.close()
            raise

    sessions = Sessions(workspace.log, settings.sessions)
    rules = LiveRules(RuleStore.open(workspace.rules), catalogue, micros_now)
    served = Served(catalogue, open_bundle, rules, auctions)
    service = Service(
        served=served,
        answering=Answering(
            served=served,
            catalogue=catalogue,
            settings=settings,
            questions=Questions(
                catalogue=catalogue,
                sessions=sessions,
                action_weights=action_weights(settings.signals),
                clock=micros_now,
            ),
            visits=open_visits(workspace, settings),
            ask_again=partial(asked_before, workspace),
            clock=micros_now,
            decisions=open_decision_log(workspace, settings, name),
            shadow=ShadowRanker(ModelStore(workspace.models), settings.ranker.shadow)
            if settings.ranker.shadow
            else None,
        ),
        catalogue=catalogue,
        sessions=sessions,
        events=open_intake(workspace, settings),
        rules=rules,
    )
    service.refresh()
    return service


def open_visits(workspace: Workspace, settings: KindredSettings) -> Visits:
    """What one process knows of its visitors; purchases are read only where a setting asks."""
    days = settings.exclusions.bought_days
    bought = Bought(workspace.log, workspace.lake, days) if days else None
    return Visits(settings.exclusions, bought)


def open_intake(workspace: Workspace, settings: KindredSettings) -> EventIntake:
    """One process's way into the event log; SettingsError for settings that contradict each other.

    Sessions are read from the log: it must keep events for as long as a session reaches back.
    """
    window = settings.sessions.window_minutes
    if settings.events.late_minutes < window:
        raise SettingsError(
            f"must be at least sessions.window_minutes, which is {window}", "$.events.late_minutes"
        )
    checks = EventChecks(settings.events)
    log = EventLog.open(workspace.log, settings.events)
    listings = Listings(workspace.catalogue)
    return EventIntake(log, checks, listings.facts_at, on_close=listings.close)


def open_decision_log(
    workspace: Workspace, settings: KindredSettings, name: str
) -> DecisionLog | None:
    """The decision log of one process, with the names of its features beside the lake's rows.

    A disk that fails keeps nobody from answering: it costs decisions, which are counted.
    """
    if not settings.decisions.log:
        return None
    from kindred.api.metrics import process_metrics

    try:
        keep_feature_names(workspace.lake, SPECIFICATION, FEATURES)
    except ArtefactError as error:
        structlog.get_logger("kindred.decisions").error("features unnamed", reason=str(error))
    return DecisionLog(
        workspace.decisions,
        settings.decisions.queue,
        f"{name}.{time_ordered_id(micros_now())}",
        on_outcome=process_metrics().decided,
    )


def bundle_of(workspace: Workspace, settings: KindredSettings, live: Live) -> Bundle:
    """An open index version with the models that it names."""
    artefacts = load_models(workspace, live.manifest.models)
    corpus = corpus_of(live.columns, live.tables, artefacts, settings, store=live.store)
    funnel = learning.funnel_of(corpus, artefacts.get("ranker"), settings, artefacts.get("merge"))
    auctions = learning.auction_ranker_of(artefacts.get(AUCTION))
    funnel = replace(funnel, diversity=settings.diversity, auction_ranker=auctions)
    versions = {"index": live.manifest.version, **live.manifest.models}
    return Bundle(live=live, funnel=funnel, versions=versions)
