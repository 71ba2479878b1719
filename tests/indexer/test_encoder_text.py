"""Text vectors of the packaged model, which must run with no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import item
from hypothesis import given
from hypothesis import strategies as st

from kindred.indexer.encoders.text import TextEncoder, item_text
from kindred.indexer.runtime import choose_precision
from kindred.schemas.errors import ArtefactError
from kindred.schemas.settings import EncoderSettings, TextEncoderSettings

TITLES = (
    "solid oak dining table", "wooden kitchen table with six chairs", "grand piano Steinway",
    "children's mountain bike 24 inch", "cordless drill 18 V", "apple sauce 50 oz",
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(EncoderSettings(precision="float32", threads=1))


def test_what_is_read_of_an_item():
    told = item(
        title="  Oak   table ",
        brand="IKEA",
        category=("home", "furniture", "Tables"),
        description="solid\nwood " * 200,
    )
    text = item_text(told)
    assert text.startswith("Oak table. IKEA. Tables. furniture. solid wood solid")
    assert len(text) < 460
    assert item_text(item(title="Tables", category=("home", "tables"))) == "Tables. home"
    assert item_text(item(title="", category=())) == ""
    assert item_text(item(title="...", category=(), brand="!")) == ".... !"


def test_what_was_said_and_what_is_an_id_is_left_out():
    ice = item(
        title="Ice, crushed, cubed, 22 pounds",
        brand="manufacturer-2",
        seller_id="manufacturer-2",
        category=("GROCERY", "FRZN ICE", "ICE - CRUSHED/CUBED"),
        description="frozen ice",
    )
    assert item_text(ice) == "Ice, crushed, cubed, 22 pounds. FRZN ICE. frozen ice"
    table = item(title="Table", category=("home", "table"), description="for the home, solid")
    assert item_text(table) == "Table. for the home, solid"


@given(st.text(max_size=200), st.text(max_size=600))
def test_white_space_and_unread_facts_do_not_change_the_key(title, description):
    encoder = TextEncoder(EncoderSettings())
    one = item(title=title, description=description, category=())
    other = item(title=f" {title[:199]}", description=description, category=(), price_minor=1)
    if len(title) < 200:
        assert encoder.key(one) == encoder.key(other)
    assert (encoder.key(one) is None) == (item_text(one) == "")


def test_the_packaged_model_understands_titles(encoder):
    made = encoder.encode([item(title=t, category=()) for t in TITLES])
    assert made.ok.all()
    assert not made.errors
    assert made.vectors.shape == (len(TITLES), encoder.dim) == (len(TITLES), 384)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    similar = made.vectors @ made.vectors.T
    assert similar[0].argsort()[-2] == 1, "the oak table's nearest is the kitchen table"
    assert similar[0, 1] > similar[0, 2:].max() + 0.2


def test_an_item_without_words_has_no_vector(encoder):
    made = encoder.encode([item(title="", category=()), item()])
    assert made.ok.tolist() == [False, True]
    assert not made.vectors[0].any()
    assert not made.errors


def test_a_model_loaded_again_makes_the_same_vectors(encoder):
    items = [item(title=t) for t in TITLES]
    again = TextEncoder(EncoderSettings(precision="float32", threads=1))
    assert again.version == encoder.version
    np.testing.assert_array_equal(again.encode(items).vectors, encoder.encode(items).vectors)


def test_bfloat16_stays_close_to_float32_and_says_so(encoder):
    fast = TextEncoder(EncoderSettings(precision="bfloat16", threads=1))
    assert "bfloat16" in fast.version
    assert "float32" in encoder.version
    items = [item(title=t, description="in good condition, collected in person") for t in TITLES]
    cosine = (fast.encode(items).vectors * encoder.encode(items).vectors).sum(axis=1)
    assert cosine.min() > 0.997


def test_a_model_in_a_folder_is_named_by_its_content(encoder, tmp_path: Path):
    folder = tmp_path / "own-model"
    encoder._model.save(str(folder))
    settings = EncoderSettings(
        precision="float32", threads=1, text=TextEncoderSettings(model=str(folder))
    )
    own = TextEncoder(settings)
    before = own.version
    assert before.startswith("own-model@")
    items = [item(title=t) for t in TITLES]
    np.testing.assert_array_equal(own.encode(items).vectors, encoder.encode(items).vectors)
    (folder / "note.txt").write_text("changed")
    assert TextEncoder(settings).version != before


def test_a_missing_model_is_an_error_in_words(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = TextEncoder(EncoderSettings(text=TextEncoderSettings(model=str(empty))))
    with pytest.raises(ArtefactError, match=r"encoders\.text\.model"):
        broken.encode([item()])


def test_keys_and_versions_do_not_import_torch():
    code = (
        "import sys\n"
        "from kindred.indexer.encoders.factory import make_encoders\n"
        "from kindred.schemas.item import Item\n"
        "from kindred.schemas.settings import EncoderSettings\n"
        "i = Item(item_id='a', title='oak', images=('a.jpg',), brand='b')\n"
        "made = make_encoders(EncoderSettings())\n"
        "assert all(e.key(i) and e.version and e.dim for e in made.values())\n"
        "heavy = {'torch', 'torchvision', 'sentence_transformers', 'open_clip', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_takes_bfloat16_only_where_it_is_native(tmp_path: Path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor: 0\nflags\t\t: fpu avx512f avx512_bf16\nbugs: none\n")
    assert choose_precision("auto", "cpu", info) == "bfloat16"
    info.write_text("processor: 0\nflags\t\t: fpu avx2\nbugs: none\n")
    assert choose_precision("auto", "cpu", info) == "float32"
    assert choose_precision("auto", "cpu", tmp_path / "absent") == "float32"
    assert choose_precision("float32", "cuda") == "float32"
