"""The only place that assembles objects: settings, catalogue, index, models -> engine, builder."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import structlog

from kindred.api import learning, past, representing
from kindred.api.asked_before import asked_before
from kindred.api.auctions import LiveAuctions
from kindred.api.ids import time_ordered_id
from kindred.api.material import catalogue_of
from kindred.api.rolling import RollingBuilder
from kindred.api.ruled import LiveRules, Visits
from kindred.api.service import Bundle, Service
from kindred.api.settings_file import load_settings as read_settings
from kindred.events.bought import Bought
from kindred.events.check import EventChecks
from kindred.events.decision_log import DecisionLog
from kindred.events.feature_names import keep_feature_names
from kindred.events.intake import EventIntake
from kindred.events.log import EventLog
from kindred.events.sessions import Sessions
from kindred.indexer.behaviour.interactions import action_weights
from kindred.indexer.behaviour.stages import NAMES as BEHAVIOUR
from kindred.indexer.build import BehaviourSpace, build_index
from kindred.indexer.builder import Builder
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import Columns
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import LearnedSpaces, make_encoders
from kindred.indexer.listings import Listings
from kindred.indexer.live import Live
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.representations import SPACES
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.versions import COLUMNS, VECTORS, IndexFolder, Manifest
from kindred.rerank.corpus import corpus_of
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.funnel import Funnel
from kindred.rerank.joined_stages import AUCTION
from kindred.rerank.rule_store import RuleStore
from kindred.rerank.rules import RuleBook
from kindred.rerank.shadow import ShadowRanker
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import ArtefactError, NotBuilt, SettingsError
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

ANSWERING = (*BEHAVIOUR, "merge", "ranker", AUCTION)
"""Stages whose artefacts answers are made with."""
SERVING = (*ANSWERING, *SPACES)
"""Stages whose versions an index version names: those above, and those that give vectors."""

load_settings = read_settings
train = learning.train
evaluate_next_item = past.evaluate_next_item
evaluate_diversity = past.evaluate_diversity
evaluate_shown_lists = learning.evaluate_shown_lists
evaluate_representations = representing.evaluate_representations


def current_models(workspace: Workspace) -> dict[str, str]:
    """Version by stage, of the stages that serve and have one."""
    models = ModelStore(workspace.models)
    found = {stage: models.current(stage) for stage in SERVING}
    return {stage: version for stage, version in found.items() if version is not None}


def load_models(workspace: Workspace, versions: Mapping[str, str]) -> dict[str, Artefact]:
    """The artefacts that answers are made with, of those that an index version names."""
    models = ModelStore(workspace.models)
    return {stage: models.load(stage, v) for stage, v in versions.items() if stage in ANSWERING}


def modules_of(
    workspace: Workspace,
    settings: KindredSettings,
    base: Mapping[str, Encoder],
    cache: EncodingCache,
) -> LearnedSpaces:
    """The encoders of trained modules, by the versions that an index version names."""
    models = ModelStore(workspace.models)
    return LearnedSpaces(base, cache, models.load, settings.representations.spaces)


def build(workspace: Workspace, settings: KindredSettings, progress: Progress) -> Manifest:
    """Build an index version from the catalogue, the encoders and the models in use.

    Where somebody is building already, wait: what comes of it may be the very same.
    """
    folder = IndexFolder(workspace.index)
    if folder.being_built():
        with catalogue_of(workspace) as catalogue:
            wanted = catalogue.sequence
        with progress.task("wait for the build under way"):
            while folder.being_built():
                time.sleep(0.1)
        if index_is_fresh(workspace, settings) and folder.manifest().sequence >= wanted:
            return folder.manifest()
    versions = current_models(workspace)
    spaces = {}
    if "als" in versions:
        als = ModelStore(workspace.models).load("als", versions["als"])
        spaces["als"] = BehaviourSpace(als.arrays["unit"], als.arrays["present"], als.version)
    with catalogue_of(workspace) as catalogue:
        cache = EncodingCache(workspace.encodings)
        try:
            base = make_encoders(settings.encoders)
            learned = modules_of(workspace, settings, base, cache)(versions)
            return build_index(
                workspace, settings, catalogue, spaces, versions, {**base, **learned}, progress
            )
        finally:
            cache.close()


def index_is_fresh(workspace: Workspace, settings: KindredSettings) -> bool:
    """Whether the index in use was made with the models and encoders in use.

    The catalogue may have changed since: whoever serves the index applies that.
    """
    try:
        manifest = IndexFolder(workspace.index).manifest()
    except (NotBuilt, ArtefactError):
        return False
    encoders = make_encoders(settings.encoders)
    same = all(
        manifest.spaces[space].version == encoder.version
        for space, encoder in encoders.items()
        if space in manifest.spaces
    )
    return same and manifest.models == current_models(workspace)


def open_engine(workspace: Workspace, settings: KindredSettings, name: str) -> Service:
    """One serving process's engine; `name` tells its copy of the shard from the others'."""
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
    events = open_intake(workspace, settings)
    service = Service(
        catalogue,
        settings,
        open_bundle,
        action_weights(settings.signals),
        sessions,
        events,
        open_decision_log(workspace, settings, name),
        rules=LiveRules(RuleStore.open(workspace.rules), catalogue, micros_now),
        visits=open_visits(workspace, settings),
        ask_again=partial(asked_before, workspace),
        auctions=auctions,
        shadow=ShadowRanker(ModelStore(workspace.models), settings.ranker.shadow)
        if settings.ranker.shadow
        else None,
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


def open_builder(workspace: Workspace, settings: KindredSettings) -> RollingBuilder:
    """The builder process's loop; a rebuild is `kindred index` in a process of its own."""
    catalogue = Catalogue.open(workspace.catalogue)
    cache = EncodingCache(workspace.encodings)
    encoders: Mapping[str, Encoder] = make_encoders(settings.encoders)
    modules = modules_of(workspace, settings, encoders, cache)
    models = ModelStore(workspace.models)

    def start_rebuild() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "kindred", "-w", str(workspace.root), "index", "--json"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def open_writer() -> Live:
        return Live.open(
            workspace, settings, catalogue, cache, encoders, replica="builder", writes=True,
            modules=modules,
        )  # fmt: skip

    def models_in_use() -> dict[str, str] | None:
        return None if models.being_trained() else current_models(workspace)

    server = settings.store.kind == "server"
    builder = Builder(
        workspace, settings, catalogue, cache, encoders, start_rebuild,
        open_writer=open_writer if server else None, modules=modules, models=models_in_use,
    )  # fmt: skip
    return RollingBuilder(builder, workspace, settings.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """What batch jobs answer with: the index in use, searched exactly, without a copy of it."""

    funnel: Funnel
    action_weights: Floats
    versions: dict[str, str]


def open_offline(workspace: Workspace, settings: KindredSettings) -> Offline:
    """The index version in use, with the catalogue's facts of now, as batch jobs read it.

    Items newer than the index have no vectors here. Raises NotBuilt where there is no index.
    """
    manifest = IndexFolder(workspace.index).manifest()
    folder = workspace.index / manifest.version
    columns = Columns.load(folder / COLUMNS)
    with catalogue_of(workspace) as catalogue:
        sequence = manifest.sequence
        while changes := catalogue.changes(sequence, 5000):
            rows = np.array([change.row for change in changes], np.int64)
            columns.apply(rows, [change.item for change in changes])
            sequence = changes[-1].sequence
    tables = {space: VectorTable.load(folder / VECTORS / space) for space in manifest.spaces}
    artefacts = load_models(workspace, manifest.models)
    funnel = learning.offline_funnel(columns, tables, artefacts, settings)
    return Offline(
        funnel=replace(funnel, diversity=settings.diversity, rules=_rules(workspace, columns)),
        action_weights=action_weights(settings.signals),
        versions={"index": manifest.version, **manifest.models},
    )


def _rules(workspace: Workspace, columns: Columns) -> RuleBook | None:
    """The rules as they are now; None where nobody wrote any."""
    if not workspace.rules.exists():
        return None
    store = RuleStore.open(workspace.rules)
    try:
        return RuleBook(store.rules()[1], columns)
    finally:
        store.close()
