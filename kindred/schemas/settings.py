"""Every setting: one frozen Struct per component, a docstring under each field.

Read from `<workspace>/kindred.toml`, then from the environment: `KINDRED__API__PORT=9000` sets
`api.port`. `kindred init` writes the file with every field, its default and its docstring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]
PLAIN_SHARE = 0.05
"""Least share of answers without ad rates in their order, where exponents are tried (SPEC §3.8)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every settings struct."""


class ApiKey(Settings, frozen=True, kw_only=True):
    """One caller's key."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    """SHA-256 of the secret, in hex; `kindred keys new` prints a secret and this."""
    scopes: tuple[Literal["read", "write", "admin"], ...] = ("read",)
    """What the key may do: read answers, write items and events, see operations and set
    rules."""


class ApiSettings(Settings, frozen=True, kw_only=True):
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs at least one key."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8321
    """Port to listen on."""
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Serving processes; 0 means one for each core."""
    max_body_bytes: Positive = 10_000_000
    """Largest request body."""
    max_batch: Positive = 500
    """Largest batch of items or events in one request."""
    deadline_ms: Positive = 200
    """What a request may take before later stages fall back to simpler ones."""
    poll_ms: Positive = 100
    """How often a serving process looks for catalogue changes and new versions."""
    compiled_ranker: bool = True
    """Walk the ranker's trees by compiled code: the same scores in a quarter of LightGBM's time.
    A process makes it while its index opens; until it is there, and where it cannot be made,
    LightGBM answers."""
    keys: dict[str, ApiKey] = {}
    """Keys by caller's name."""


class StoreSettings(Settings, frozen=True, kw_only=True):
    """Where vectors live."""

    kind: Literal["embedded", "server"] = "embedded"
    """`embedded`: Qdrant Edge inside each process. `server`: a Qdrant server or cluster."""
    url: str = "http://127.0.0.1:6333"
    """Address of the server."""
    api_key: str = ""
    """Key of the server."""
    collection: str = "items"
    """Alias that names the collection in use on the server."""
    timeout_ms: Positive = 500
    """What one question to the server may take."""
    write_timeout_s: Positive = 30
    """What one write to the server may take."""
    m: Positive = 32
    """Links per point in the HNSW graph. With 16 a few questions about 300,000 clustered items got
    none of their neighbours, with 32 each got nine in ten, for the same build time."""
    ef_construct: Positive = 128
    """Beam width while the graph is built."""
    ef: Positive = 384
    """Least beam width of a search in the graph."""
    graph_from_kb: Positive = 10_000
    """Vectors of a space, in KiB, below which it has no graph and is scanned."""
    search_threads: Positive = 1
    """Threads of one embedded search; serving processes, not threads, use the cores."""
    rebuild_after: Positive = 20_000
    """Changes of the catalogue after which the builder process makes the next index version; until
    then they are in no graph, and each search scans them."""


class PlanSettings(Settings, frozen=True, kw_only=True):
    """How a filtered search is answered (benchmarks/README.md has what each plan costs).

    Reading is counted in numbers of four bytes: rows × width. A whole table, which is read in
    order, counts a quarter.
    """

    scan_values: Positive = 15_000_000
    """Up to this much reading for one question (about 15 ms), every row that passes is scored,
    exactly."""
    graph_share: Share = 0.9
    """From this share of rows on that pass, a scan must read less than the graph to be chosen."""
    beam_rows: Positive = 24
    """Rows that the graph reads for each place of its beam, about."""
    oversampling: Annotated[float, Meta(ge=1)] = 2.0
    """Extra candidates fetched where the filter is applied after the search."""
    batch: Positive = 16
    """From this many questions under one filter on, they are answered together."""
    batch_values: Positive = 20_000_000
    """Up to this much reading, such a batch is scored as one product of matrices, exactly."""
    cache: Positive = 64
    """Evaluated filters kept per process."""


class TextEncoderSettings(Settings, frozen=True, kw_only=True):
    """Text vectors, by sentence-transformers."""

    model: str = "packaged:all-MiniLM-L6-v2"
    """A model's name, a local folder, or the packaged default, which needs no network."""
    batch_size: Positive = 128
    """Texts encoded at once."""
    max_tokens: Positive = 128
    """Longer texts are cut."""


class ImageEncoderSettings(Settings, frozen=True, kw_only=True):
    """Image vectors, by the packaged EfficientNet-Lite or by open_clip."""

    model: str = "packaged:efficientnet-lite2"
    """The packaged default, or an open_clip model's name such as `ViT-B-32`."""
    pretrained: str = ""
    """open_clip's pretrained tag, or the path of a local checkpoint."""
    batch_size: Positive = 32
    """Images encoded at once."""
    timeout_s: Annotated[float, Meta(gt=0)] = 5.0
    """What fetching one image may take."""
    max_bytes: Positive = 10_000_000
    """Largest image file."""
    max_pixels: Positive = 25_000_000
    """Largest image, decoded."""
    roots: tuple[str, ...] = ()
    """Folders that image paths may point into; empty refuses every local path. The workspace's
    folder `pictures`, which an import of a named data set fills, is always one."""
    allow_private_hosts: bool = False
    """True lets image URLs point at private and loopback addresses."""


class AttributesEncoderSettings(Settings, frozen=True, kw_only=True):
    """Attribute vectors: category, brand, colour, materials, condition and attributes, hashed."""

    dim: Positive = 64
    """Width of the vector."""
    numeric_scale: Annotated[float, Meta(gt=0)] = 1.0
    """Weight of a numeric attribute beside a categorical one."""


class EncoderSettings(Settings, frozen=True, kw_only=True):
    """What turns an item into vectors."""

    spaces: tuple[Literal["text", "image", "attributes"], ...] = ("text", "image", "attributes")
    """Encoders in use; a space without a single vector is left out of the index."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Threads of an encoder; 0 leaves torch's own choice."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; `auto` takes bfloat16 where the processor has it. Part of the version of
    text and image vectors: machines that share encodings must agree on it."""
    text: TextEncoderSettings = TextEncoderSettings()
    image: ImageEncoderSettings = ImageEncoderSettings()
    attributes: AttributesEncoderSettings = AttributesEncoderSettings()


class SignalSettings(Settings, frozen=True, kw_only=True):
    """What an action is worth, and which interactions count (SPEC F3-F6, §2.1)."""

    weights: dict[str, NonNegative] = msgspec.field(default_factory=lambda: {
        "click": 1.0, "view": 1.0, "show_interest": 2.0, "favourite": 4.0, "watch": 4.0,
        "follow_seller": 3.0, "send_message": 10.0, "show_phone": 10.0, "contact_seller": 12.0,
        "add_to_cart": 6.0, "make_offer": 10.0, "place_bid": 8.0, "buy_now": 12.0, "purchase": 12.0,
    })  # fmt: skip
    """Weight of each action; an action without one does not count."""
    session_gap_minutes: Positive = 30
    """Without a session id, a longer silence of a visitor begins a new session."""
    popularity_half_life_days: Annotated[float, Meta(gt=0)] = 14.0
    """Age at which an interaction counts half towards popularity."""


class AlsSettings(Settings, frozen=True, kw_only=True):
    """Matrix factorisation on users × items (SPEC F3).

    The confidence of a cell is 1 + alpha · r / r̄ with the signal r = Σ_a w_a · ln(1 + count_a) and
    its mean r̄ over the cells that have one; the preference is 1. An empty cell has confidence 1
    and preference 0.
    """

    embedding_size: Positive = 100
    """Rank."""
    iterations: Positive = 8
    """Alternating sweeps."""
    regularization: NonNegative = 1.0
    """L2 penalty on every factor, not scaled by the number of events."""
    alpha: NonNegative = 15.0
    """Confidence that the mean cell has beyond that of an empty one."""
    look_back_days: Annotated[int, Meta(ge=0)] = 0
    """Only events at most this old count; 0 means all (FINN: 20)."""
    min_events: Positive = 2
    """Users and items with fewer events are dropped, again and again until none is left."""


class PairSettings(Settings, frozen=True, kw_only=True):
    """Items seen together in one session: counted, corrected for popularity (eBay 2016)."""

    neighbours: Positive = 100
    """Neighbours kept for each item."""
    max_session: Positive = 60
    """Of a longer session only the newest items count."""
    popularity_exponent: Share = 0.4
    """similarity = count / ((n_i · n_j)^exponent + shrinkage): 0.5 is the cosine, 0 the count."""
    shrinkage: NonNegative = 10.0
    """Added to the denominator, so that a pair seen once is not certain."""
    distance_decay: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """Weight kept with each further step between two items of a session; ties are one step."""
    look_back_days: Annotated[int, Meta(ge=0)] = 0
    """Only events at most this old count; 0 means all."""


class EaseSettings(Settings, frozen=True, kw_only=True):
    """Linear weights between items (Steck 2019)."""

    items: Positive = 6000
    """Most frequent items that take part: a matrix of items by items is inverted, which takes 3 s
    for 6000 on two cores, eight times as long for twice as many, and 0.6 GB."""
    neighbours: Positive = 200
    """Largest weights kept for each item: on a slice of the Complete Journey HR@10 is 0.150 with
    all of them, 0.149 with 200 and 0.145 with 100."""
    penalties: Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(min_length=1)] = (
        0.1, 0.5, 2.5, 12.0,
    )  # fmt: skip
    """Penalties tried, as multiples of the mean number of visits that hold an item."""


class LoopSettings(Settings, frozen=True, kw_only=True):
    """One module's training by AdamW, with a one-cycle learning rate."""

    epochs: Positive = 10
    """At most this many passes over the examples."""
    examples: Positive = 300_000
    """At most this many examples in all: passes that do not fit are left out, but for the first."""
    batch_size: Positive = 512
    """Examples in a step."""
    learning_rate: Annotated[float, Meta(gt=0)] = 2e-3
    """The highest; it rises over the first tenth of the steps, then falls along a cosine."""
    weight_decay: NonNegative = 1e-4
    """Decoupled L2 penalty."""
    patience: Positive = 3
    """Epochs without a better score on the development part before training ends."""


class WordSettings(Settings, frozen=True, kw_only=True):
    """word2vec on the marketplace's own text (SPEC F7): skip-gram with negative sampling."""

    embedding_size: Positive = 100
    """Width."""
    window: Positive = 5
    """Words on either side that a word should predict."""
    negatives: Positive = 10
    """Words drawn against each."""
    min_count: Positive = 5
    """Rarer words are left out."""
    epochs: Positive = 5
    """Passes over the text."""


class ClassifierSettings(Settings, frozen=True, kw_only=True):
    """The convolutional text classifier whose top layer is an embedding (SPEC F7)."""

    embedding_size: Positive = 100
    """Width of the top layer."""
    filters: Positive = 100
    """Filters of each width."""
    widths: tuple[Positive, ...] = (3, 4, 5)
    """Words that a filter spans."""
    max_tokens: Positive = 64
    """Longer texts are cut."""
    items: Positive = 30_000
    """At most this many items to learn from, drawn with the seed."""
    loop: LoopSettings = LoopSettings(epochs=6, batch_size=128, learning_rate=1e-2)


class TunedTextSettings(Settings, frozen=True, kw_only=True):
    """The sentence encoder's upper layers, tuned on co-clicked pairs by in-batch softmax."""

    layers: Positive = 2
    """Layers tuned, from the top; the others stay as they are."""
    pairs: Annotated[int, Meta(ge=0)] = 0
    """At most this many pairs, drawn with the seed; 0 turns the stage off, which is what a trial on
    Amazon Office advises: HR@10 fell. A thousand pairs of 48 words take about 17 seconds of one
    core for each layer, and all texts of the pairs go once through the layers below."""
    temperature: Annotated[float, Meta(gt=0)] = 0.05
    """Of the softmax."""
    loop: LoopSettings = LoopSettings(epochs=2, batch_size=64, learning_rate=5e-5)


class ImageTitleSettings(Settings, frozen=True, kw_only=True):
    """From the frozen backbone to the mean word vector of a title's first words (SPEC F8)."""

    words: Positive = 5
    """First words of a title that make the target."""
    layers: tuple[Positive, ...] = (1024, 1024, 512, 512, 256, 256)
    """Widths of the dense layers before the last, which is as wide as the word vectors."""
    items: Positive = 50_000
    """At most this many pictures to learn from, drawn with the seed."""
    loop: LoopSettings = LoopSettings(epochs=30, batch_size=256, learning_rate=1e-3)


class ImageHeadsSettings(Settings, frozen=True, kw_only=True):
    """The visual embedding with taxonomy, colour and material heads (SPEC E10)."""

    embedding_size: Positive = 256
    """Width."""
    augmentations: Annotated[int, Meta(ge=0)] = 2_000
    """Altered copies in all, spread over the pictures to learn from: turned up to 15°, moved and
    zoomed up to 10 %, contrast up to ±0.2. Two cores encode 15 to 30 in a second."""
    dropout: Share = 0.2
    """Of the backbone's features, in training."""
    items: Positive = 20_000
    """At most this many pictures to learn from, drawn with the seed."""
    loop: LoopSettings = LoopSettings(epochs=30, batch_size=256, learning_rate=1e-3)


class PlaceSettings(Settings, frozen=True, kw_only=True):
    """Factors of users × postcodes in place of distance (SPEC F9)."""

    embedding_size: Positive = 32
    """Rank."""
    support: Positive = 50
    """Users from which on a postcode has factors of its own."""
    neighbours: Positive = 3
    """Supported postcodes whose mean stands for one without support, the nearest ones."""
    iterations: Positive = 15
    """Alternating sweeps."""
    regularization: NonNegative = 30.0
    """L2 penalty. Visitors know few places each: on the simulated market with barriers a penalty of
    0.1 remembers them, and tells new ones worse than distance does."""
    alpha: NonNegative = 1.0
    """Confidence that the mean cell has beyond that of an empty one."""


TowerInput = Literal[
    "text", "image", "attributes", "text_classifier", "text_tuned", "shared", "visual", "air",
    "als", "place", "popularity", "category", "brand", "colour", "price",
]  # fmt: skip


class TowerSettings(Settings, frozen=True, kw_only=True):
    """An item tower: inputs, gate, feed-forward layers, unit vector (SPEC §3.1, §3.3)."""

    embedding_size: Positive = 100
    """Width of the vectors."""
    input_size: Positive = 64
    """Width that each input is projected to."""
    hidden: tuple[Positive, ...] = (256,)
    """Widths of the layers before the last; none is a linear tower."""
    gate: Literal["attention", "none"] = "attention"
    """How inputs are weighed: by attention over those that an item has, or all alike."""
    inputs: tuple[TowerInput, ...] = ()
    """Inputs read, where there are any; empty: all that are known."""
    without: tuple[TowerInput, ...] = ()
    """Inputs left out."""
    input_dropout: dict[TowerInput, Share] = {}
    """Chance that training hides an input of an item, by input; others 0.1."""
    dropout: Share = 0.1
    """Of the hidden layers."""
    loss: Literal["softmax", "logistic", "triplet"] = "softmax"
    """In-batch softmax; logistic with sampled negatives (SPEC §3.3); triplets."""
    popularity: Share = 0.3
    """How much of the log-frequency of the batch's items the softmax corrects for: 1 is the full
    correction, 0 none."""
    newcomers: NonNegative = 0.0
    """Log-odds that an item without behaviour is trained to be ahead by (`hybrid`): what it takes
    to be found beside items that are known."""
    temperature: Annotated[float, Meta(gt=0)] = 0.07
    """Cosines are divided by it at first; it is learned between 0.02 and 0.2."""
    negatives: Annotated[int, Meta(ge=0)] = 512
    """Items drawn uniformly against each batch, beside its own; by the softmax alone."""
    pairs: Positive = 150_000
    """At most this many pairs of items in an epoch, drawn with the seed."""
    pairs_per_visit: Positive = 50
    """Pairs of one visit (`air`), or of one visitor in one span of days (`hybrid`), at most."""
    loop: LoopSettings = LoopSettings(learning_rate=1e-3)


class RepresentationSettings(Settings, frozen=True, kw_only=True):
    """What is learned about items before anything is ranked (SPEC §3.3)."""

    stages: tuple[Literal[
        "signals", "place", "words", "text_classifier", "text_tuned", "image_title", "image_heads",
        "air", "hybrid",
    ], ...] = (
        "signals", "place", "words", "text_classifier", "text_tuned", "image_title", "image_heads",
        "air", "hybrid",
    )  # fmt: skip
    """Stages in use; one without data says so and serves nothing."""
    spaces: tuple[Literal[
        "hybrid", "air", "visual", "shared", "text_tuned", "text_classifier",
    ], ...] = ("hybrid", "air", "visual", "shared", "text_tuned")  # fmt: skip
    """Learned spaces that the index holds, of those that have a trained module; the others are
    inputs only."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`, for training."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Threads of training; 0 leaves torch's own choice."""
    refresh_days: NonNegative = 7.0
    """Days for which what is learned from content, and from co-clicks, is kept although catalogue
    and events have moved, and so is the ranker that learned from what people did next; and for
    which the hybrid's training starts from the version before. 0 trains everything anew each
    time."""
    refresh_epochs: Positive = 1
    """At most this many passes over the pairs where training starts from the version before."""
    words: WordSettings = WordSettings()
    text_classifier: ClassifierSettings = ClassifierSettings()
    text_tuned: TunedTextSettings = TunedTextSettings()
    image_title: ImageTitleSettings = ImageTitleSettings()
    image_heads: ImageHeadsSettings = ImageHeadsSettings()
    place: PlaceSettings = PlaceSettings()
    air: TowerSettings = TowerSettings(embedding_size=128, gate="none", without=("als", "place"))
    """Content alone, from co-clicks (SPEC E12)."""
    hybrid: TowerSettings = TowerSettings(
        input_dropout={"als": 0.3, "place": 0.3, "popularity": 0.3},
        newcomers=0.3,
        loop=LoopSettings(learning_rate=1e-3, examples=450_000),
    )
    """Everything known, from conversions on one day (SPEC F10-F12)."""


class SourceSettings(Settings, frozen=True, kw_only=True):
    """One recall source."""

    quota: Annotated[int, Meta(ge=0)] = 100
    """Candidates asked of it; 0 turns it off."""
    weight: NonNegative = 1.0
    """Its weight in the reciprocal-rank merge."""


class RelationSettings(Settings, frozen=True, kw_only=True):
    """How a named relation between items is looked for."""

    sources: dict[str, SourceSettings] = {}
    """Quota and weight by source, in the place of `recall.sources`; a source that is not named
    keeps its own."""
    spaces: tuple[str, ...] = ()
    """Vector spaces whose neighbours have this relation, the best first."""
    other_category: bool = False
    """True leaves out the items of the seed's own leaf category."""


def _off(*names: str) -> dict[str, SourceSettings]:
    return {name: SourceSettings(quota=0) for name in names}


class RecallSettings(Settings, frozen=True, kw_only=True):
    """Candidate generation (SPEC §3.6)."""

    sources: dict[str, SourceSettings] = msgspec.field(
        default_factory=lambda: {
            "pairs": SourceSettings(quota=120),
            "forward": SourceSettings(quota=120),
            "als": SourceSettings(quota=100),
            "text": SourceSettings(quota=60, weight=0.5),
            "image": SourceSettings(quota=40, weight=0.5),
            "attributes": SourceSettings(quota=40, weight=0.25),
            "popular": SourceSettings(quota=60, weight=0.5),
            "fresh": SourceSettings(quota=20, weight=0.25),
            "revisit": SourceSettings(quota=20, weight=0.5),
            "hybrid": SourceSettings(quota=100),
            "air": SourceSettings(quota=60, weight=0.5),
            "visual": SourceSettings(quota=40, weight=0.5),
            "shared": SourceSettings(quota=20, weight=0.25),
            "text_tuned": SourceSettings(quota=0),
            "user": SourceSettings(quota=100, weight=0.5),
            "ease": SourceSettings(quota=120),
            "again": SourceSettings(quota=60),
        }
    )
    """Quota and weight by source. `again` are items that the user acted on in earlier visits; it
    answers where the log shows that people come back for the same. `user` is the factorisation's
    own answer to who is logged in: on a slice of the Complete Journey it raises HR@50 of the merge
    by 11 % and MRR@10 by as much, and HR@10 by 5 %, of which chance may be all."""
    relations: dict[Literal["similar", "complement"], RelationSettings] = msgspec.field(
        default_factory=lambda: {
            "similar": RelationSettings(
                sources={
                    **_off("pairs", "forward", "als", "hybrid", "popular", "revisit", "user"),
                    **_off("ease", "again"),
                    "text": SourceSettings(quota=100),
                    "attributes": SourceSettings(quota=100, weight=0.5),
                    "visual": SourceSettings(quota=100),
                    "air": SourceSettings(quota=100),
                },
                spaces=("air", "text_tuned", "text", "visual", "image", "shared", "attributes"),
            ),
            "complement": RelationSettings(
                sources={
                    **_off("text", "image", "attributes", "air", "visual", "shared"),
                    **_off("text_tuned", "popular", "fresh", "revisit", "user", "again"),
                },
                spaces=("als", "hybrid", "air"),
                other_category=True,
            ),
        }
    )
    """What the relations of a request mean: `similar` could stand in for the seed, `complement`
    goes with it."""
    mismatch_guard: bool = True
    """Drop what lies near in content alone while its top category is another one than the seed's
    and its brand is not the seed's (SPEC F21)."""
    learned_merge: bool = True
    """Let the weights and `rrf_k` that training learned take the place of those set here, where
    they passed their gate. A weight of 0 stays 0. What is set here answers requests with a
    relation that has its own sources, and those none of whose seeds has a past."""
    candidates: Positive = 300
    """Candidates kept after the merge."""
    rrf_k: NonNegative = 60.0
    """Constant of the reciprocal-rank merge."""
    session_half_life: Annotated[float, Meta(gt=0)] = 3.0
    """Steps back in a session after which an item counts half."""
    fresh_hours: Positive = 24
    """Age up to which a listing is fresh."""
    near_km: Annotated[float, Meta(gt=0)] = 50.0
    """Distance at which a place counts half for fresh and popular items."""


class RankerSettings(Settings, frozen=True, kw_only=True):
    """LightGBM lambdarank (SPEC §3.7)."""

    shadow: Annotated[str, Meta(pattern=r"^(candidate|[0-9]{6,})?$(?!\n)")] = ""
    """A version of the ranker that scores what is answered without serving it, or `candidate`: the
    newest one, where it is newer than the serving one. Its scores are logged beside those of the
    serving one, and `kindred decisions shadow` compares them. Empty: none does."""

    objective: Literal["auto", "binary", "graded", "pairs", "ensemble"] = "auto"
    """What is learned from shown lists: purchases alone (`binary`), what came of each item with the
    `weights` below for items (`graded`) or with weights for pairs of them, by the purchases that
    each outcome leads to (`pairs`), or the mean of several (`ensemble`). `auto` trains them all:
    the ensemble serves unless another leads it clearly on the lists that training stops by. From
    what people did next there is one thing to learn, whatever stands here."""
    ensemble: Annotated[tuple[Literal["binary", "graded", "pairs"], ...], Meta(min_length=1)] = (
        "binary",
        "graded",
    )
    """What the ensemble is the mean of, each standardised."""
    middle_actions: bool = True
    """False: watch, cart, offer and buy now count as clicks, as in eBay's first phase."""
    trees: Positive = 300
    """At most this many; early stopping may end sooner."""
    leaves: Annotated[int, Meta(ge=2, le=255)] = 31
    """Leaves of a tree; fewer where the ranker learns from few shown lists."""
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.06
    """Shrinkage."""
    min_data_in_leaf: Positive = 100
    """Fewest rows in a leaf."""
    truncation: Positive = 30
    """lambdarank_truncation_level: about k + 3 and more."""
    early_stopping: Positive = 30
    """Rounds without improvement on the development part before training ends."""
    window_days: Annotated[float, Meta(gt=0)] = 28.0
    """Newest part of the log that gives training queries; what they are scored by is older."""
    window_share: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    """The window never takes more than this share of the events."""
    queries: Positive = 10_000
    """At most this many training queries."""
    negatives: Positive = 120
    """Candidates without a label kept for each query, drawn at random past the first 30."""
    development_share: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    """Newest share of the queries: early stopping, calibration and the gate. Of shown lists, the
    share of those before the judging ones by which training stops."""
    judging_share: Annotated[float, Meta(gt=0, lt=1)] = 0.25
    """Newest share of the shown lists of which something came: the gate judges on what was shown
    since. Purchases are few, and with a smaller share it tells nothing."""
    joined_from: Annotated[int, Meta(ge=1)] = 300
    """Shown lists of which something came, from which on the ranker learns from what was shown;
    with fewer it learns from what people did next."""
    joined_lists: Positive = 100_000
    """At most this many such lists for training, the newest ones."""
    weights: dict[str, NonNegative] = msgspec.field(default_factory=lambda: {
        "nothing": 1.0, "click": 1.0, "watch": 6.0, "cart": 15.0, "offer": 38.0, "buy_now": 8.0,
        "purchase": 15.0,
    })  # fmt: skip
    """Weight of a shown item in training by the best that came of it (SPEC B9). They make up for
    frequencies and need not rise; one that is not named counts 1."""
    tune: bool = False
    """Find such weights by trials before the ranker learns from shown lists; they serve where they
    lead those above clearly. It takes Optuna (`kindred[tune]`)."""
    tune_trials: Annotated[int, Meta(ge=2, le=1000)] = 30
    """Trials; the first are the weights above, and clicks with purchases of weight 150."""
    propensity: Literal["none", "ips"] = "none"
    """`ips`: a shown item also weighs 1 / the chance that it stood where it stood."""
    propensity_clip: Annotated[float, Meta(ge=1)] = 10.0
    """Largest such factor."""
    position_bias: bool = True
    """Learn what the position alone earned, by platform, and leave it out of the score."""
    position_regularization: NonNegative = 0.0
    """L2 penalty on that. Measured on LightGBM's sample, 1.0 loses most of the gain."""
    open_purchases: bool = True
    """Impressions whose purchase may still come count as not bought yet; False leaves them out.
    Those whose other actions may still come are left out in any case."""


class BlendArm(Settings, frozen=True, kw_only=True):
    """One strength that is tried: `a` of the expected value, or `b` of the power."""

    a: NonNegative | None = None
    """Worth of a fee."""
    b: NonNegative | None = None
    """Exponent of the ad rate."""
    share: Annotated[float, Meta(gt=0, le=1)]
    """Share of the answers that it orders."""

    def __post_init__(self) -> None:
        if (self.a is None) == (self.b is None):
            raise ValueError("an arm has exactly one of `a` and `b`")

    @property
    def parameter(self) -> str:
        """Which of the two it tries."""
        return "b" if self.a is None else "a"

    @property
    def strength(self) -> float:
        """Its value."""
        value = self.b if self.a is None else self.a
        assert value is not None
        return value


class AuctionSettings(Settings, frozen=True, kw_only=True):
    """Auction campaigns (PLX): views that were bought, delivered at places of their own
    (SPEC §2.3). They take effect where a ranker serves and the catalogue has such items."""

    places: Annotated[tuple[Positive, ...], Meta(max_length=3)] = (3, 6)
    """Positions of a list that auction items stand at, 1 = first; empty: none does."""
    pool: Positive = 20
    """Auction items near the question that pass its filters: the pool of one answer."""
    drawn_from: Annotated[int, Meta(ge=1, le=60)] = 10
    """The best of the pool by the auction's own score; one of these is drawn, the likelier the
    further its campaign is behind: by (target views - views so far) / seconds left."""
    need_weight: NonNegative = 1.0
    """Weight of being behind in the score, as deviations from the pool's mean."""
    bid_weight: NonNegative = 0.5
    """Weight of the logarithm of the bid, which is the flat fee for each view bought."""
    similarity_weight: NonNegative = 1.0
    """Weight of the similarity to the question."""
    days: Annotated[float, Meta(gt=0)] = 7.0
    """Time that is always left to a campaign without an end."""
    refresh_s: Annotated[float, Meta(gt=0)] = 5.0
    """How often a serving process counts the views that all of them have given."""
    look_back_days: Positive = 60
    """Views given longer ago no longer count towards a target."""

    def __post_init__(self) -> None:
        if list(self.places) != sorted(set(self.places)):
            raise ValueError("`places` must rise")


STRENGTH_OF = {"expected_value": "a", "power": "b"}
"""The setting that is a formula's strength in the blend."""
FORMULA_OF = {strength: formula for formula, strength in STRENGTH_OF.items()}


def formula_told(blend: Mapping[str, object]) -> str | None:
    """The formula whose strength a part of the blend's settings names, where it names one alone.

    A strength that somebody tells never goes unheeded.
    """
    named = [formula for strength, formula in FORMULA_OF.items() if strength in blend]
    return named[0] if len(named) == 1 and "formula" not in blend else None


class BlendSettings(Settings, frozen=True, kw_only=True):
    """log p̂ + what the ad rate adds + c · log(price / p0) (SPEC §3.8)."""

    formula: Literal["expected_value", "power"] = "expected_value"
    """What a rate adds: `expected_value` is log(1 + a · rate · price / p0), a sale and its fee in
    one sum; `power` is b · log(rate / (r0 / e)), and 0 for a rate below that. On simulated markets
    the former earns more for the same loss of purchases (`kindred evaluate blend`). A file that has
    only `a` or only `b` names the formula by it."""
    a: NonNegative = 0.5
    """For `expected_value`: what a fee of p0 is worth, in sales."""
    b: NonNegative = 0.1
    """For `power`: exponent of the ad rate."""
    arms: tuple[BlendArm, ...] = ()
    """Strengths tried beside each other in the place of the above: each answer draws one by its id,
    and its decision says which. An arm names `a` or `b`, and with it the formula. The shares sum to
    1, and strength 0 has at least 0.05, so that what ads cost can always be told."""
    c: float = 0.0
    """Exponent of the price."""
    p0_minor: NonNegative = 0.0
    """Reference price, in the smallest unit of the currency; 0: the geometric mean of the
    catalogue's prices, taken when a ranker is loaded."""
    price_max: Annotated[float, Meta(gt=0)] = 5.0
    """Upper clamp of price / p0, so that nobody gains by a price without bounds."""
    r0_bp: Positive = 500
    """For `power`: reference ad rate; an item that is not sponsored counts as r0 / e."""
    rate_max_bp: Positive = 3000
    """Upper clamp of the rate."""
    floor: Share = 0.3
    """A sponsored item needs at least this share of the probability of the k-th by probability."""
    seller_cap: Annotated[int, Meta(ge=0)] = 2
    """Items of one seller before everybody else's; further ones come last. 0 is no cap, for a shop
    of its own goods: where sellers are manufacturers (Complete Journey) a cap of 2 cost 3.8 % of
    NDCG and 1.2 points of hits, one of 3 1.1 % and no hits that showed."""
    sponsored_max: Annotated[int, Meta(ge=0)] = 3
    """Items placed by their ad rate; further ones compete without it."""
    auction: AuctionSettings = AuctionSettings()

    @property
    def strength(self) -> float:
        """Of the formula in use; at 0 the order is that of the probabilities."""
        return float(getattr(self, STRENGTH_OF[self.formula]))

    def __post_init__(self) -> None:
        if not self.arms:
            return
        if abs(sum(arm.share for arm in self.arms) - 1) > 1e-9:
            raise ValueError("the shares of `arms` must sum to 1")
        if sum(arm.share for arm in self.arms if arm.strength == 0) < PLAIN_SHARE:
            raise ValueError(f"`arms` must give strength 0 a share of {PLAIN_SHARE} at least")


class ExclusionSettings(Settings, frozen=True, kw_only=True):
    """What a visitor is not shown, whatever its score."""

    own: bool = True
    """Leave out what the visitor sells: items whose seller has the id of the user who asks."""
    bought_days: Annotated[int, Meta(ge=0)] = 0
    """Leave out what the user bought in so many days; 0 leaves nothing out. Off, because what is
    used up is bought again: on groceries most purchases are repeats. A shop of lasting goods sets
    30. What may be sold once leaves by its status in any case."""
    bought_categories: tuple[tuple[str, ...], ...] = ()
    """Category paths, or prefixes of them, for which that holds; empty: all. So a shop of both
    kinds names those of lasting goods."""


class DiversitySettings(Settings, frozen=True, kw_only=True):
    """Near-duplicates, and how far an answer is spread over categories and sellers."""

    first: Positive = 100
    """Best candidates that are looked at."""
    same_title: bool = True
    """Of listings whose titles have the same words, and whose price or seller is the same, keep the
    best placed one. Titles of sixteen words or more are like no other."""
    near_duplicates: Share = 0.0
    """Keep only the best placed of those whose cosine is at least this in every one of the text and
    image spaces that both are in; 0: do not compare. Encoders take variants of one product for
    the same, so that a value fits one catalogue alone: on two real ones 0.98 cost 1 % and 38 % of
    NDCG, and hits, so it is off."""
    category: NonNegative = 0.0
    """What each earlier item of its leaf category costs an item, on the scale of the logarithm of
    the probability: 0.1 makes it compete as if it were bought a tenth less often. `kindred evaluate
    diversity` says what it costs the order; 0 leaves the order alone. On Amazon Grocery 0.1 costs
    0.1 % of NDCG and no hits for a category more in every tenth list of six, 0.8 costs hits too."""
    seller: NonNegative = 0.0
    """The same for sellers. `blend.seller_cap` is a bound, this is a price."""


class ImportSettings(Settings, frozen=True, kw_only=True):
    """Bulk import."""

    chunk_rows: Positive = 250_000
    """Rows read and committed at once."""


class EventSettings(Settings, frozen=True, kw_only=True):
    """The event log: what is accepted, how durably, for how long it is kept."""

    late_minutes: Positive = 60
    """An event that is older when it arrives is refused; an hour is closed this long after its end,
    and then goes from the log to the lake. At least the sessions' window."""
    skew_s: Annotated[float, Meta(ge=0)] = 5.0
    """An event may lie this far in the future: clocks differ."""
    durable: tuple[str, ...] = ("make_offer", "place_bid", "buy_now", "purchase")
    """Actions whose commit waits for the disk (power loss included). The others survive the end of
    the process, not of the machine."""
    queue: Positive = 50_000
    """Events that may wait for their commit in one process; past it callers are told to wait."""
    busy_s: Annotated[float, Meta(gt=0)] = 5.0
    """What a commit waits for other processes before it fails."""
    roll_every_s: Annotated[float, Meta(gt=0)] = 60.0
    """How often closed hours are looked for."""
    keep_days: Annotated[int, Meta(ge=0)] = 0
    """Days that the lake keeps events and decisions; 0 keeps them for ever."""
    rejects_keep_days: Positive = 30
    """Days that the dead letters are kept."""
    app_only: tuple[str, ...] = ("contact_seller",)
    """Actions that exist in mobile apps alone (SPEC F4)."""
    interest_categories: tuple[str, ...] = ()
    """Top categories that know `show_interest` (SPEC F4); empty: all."""


class SessionSettings(Settings, frozen=True, kw_only=True):
    """What a visitor did lately (SPEC §3.4, E1)."""

    window_minutes: Positive = 60
    """How far back a session reaches."""
    actions: Positive = 64
    """Newest actions kept of it."""


class DecisionSettings(Settings, frozen=True, kw_only=True):
    """The log of what was shown."""

    log: bool = True
    """False logs no decisions: nothing can be learned from the answers."""
    candidates: Annotated[int, Meta(ge=0, le=60)] = 60
    """Candidates kept of each answer, in its order, with the features they were ranked by."""
    queue: Positive = 2_000
    """Decisions that may wait for the disk in one process; past it they are lost, and counted."""
    explore: Share = 0.0
    """Share of similar-item answers whose shown items come in random order: what it takes to
    learn without the bias of the positions. The propensities of all answers say so."""


class JoinSettings(Settings, frozen=True, kw_only=True):
    """How long after an impression something counts as its outcome (SPEC §3.2)."""

    click_minutes: Positive = 30
    """A click, and the view it leads to, after the impression."""
    action_hours: Positive = 24
    """Other actions, and a purchase without a click, after the impression."""
    purchase_days: Positive = 30
    """A purchase, its fee and halo sales after the click."""
    slot_seconds: Positive = 20
    """The reward of a content slot."""
    awareness_days: Positive = 7
    """A visit to what an announcement announced."""


class TelemetrySettings(Settings, frozen=True, kw_only=True):
    """OpenTelemetry spans of each hop."""

    exporter: Literal["none", "console", "otlp"] = "none"
    """`otlp` needs the extra `otel`; `console` writes spans to stderr."""
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    """Where OTLP over HTTP goes."""
    sample: Share = 0.01
    """Share of the traces begun here that are recorded; a caller's own choice goes first."""


class KindredSettings(Settings, frozen=True, kw_only=True):
    """All of it."""

    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 7
    """Seed of everything that draws at random."""
    notes: tuple[str, ...] = ()
    """Sentences added to every answer, such as that ad rates are simulated."""
    api: ApiSettings = ApiSettings()
    store: StoreSettings = StoreSettings()
    plan: PlanSettings = PlanSettings()
    encoders: EncoderSettings = EncoderSettings()
    signals: SignalSettings = SignalSettings()
    als: AlsSettings = AlsSettings()
    pairs: PairSettings = PairSettings()
    ease: EaseSettings = EaseSettings()
    representations: RepresentationSettings = RepresentationSettings()
    recall: RecallSettings = RecallSettings()
    ranker: RankerSettings = RankerSettings()
    blend: BlendSettings = BlendSettings()
    exclusions: ExclusionSettings = ExclusionSettings()
    diversity: DiversitySettings = DiversitySettings()
    imports: ImportSettings = ImportSettings()
    events: EventSettings = EventSettings()
    sessions: SessionSettings = SessionSettings()
    decisions: DecisionSettings = DecisionSettings()
    join: JoinSettings = JoinSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
