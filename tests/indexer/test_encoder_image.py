"""Image vectors: the packaged net and open_clip, both with no network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import item
from PIL import Image, ImageDraw

from kindred.indexer.encoders.image import ImageEncoder
from kindred.schemas.errors import ArtefactError
from kindred.schemas.settings import EncoderSettings, ImageEncoderSettings

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three drawn pictures: a disc, a smaller one, stripes; and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, radius in (("disc", 90), ("smaller", 80)):
        image = Image.new("RGB", (300, 200), "white")
        draw = ImageDraw.Draw(image)
        draw.ellipse((150 - radius, 100 - radius, 150 + radius, 100 + radius), fill="orange")
        image.save(folder / f"{name}.jpg")
    stripes = np.zeros((200, 300, 3), np.uint8)
    stripes[:, ::20] = 255
    Image.fromarray(stripes).save(folder / "stripes.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def settings(folder: Path, **image: object) -> EncoderSettings:
    chosen = ImageEncoderSettings(roots=(str(folder),), **image)
    return EncoderSettings(precision="float32", threads=1, image=chosen)


def shown(*names: str) -> list:
    return [item(images=(name,)) for name in names]


def test_the_packaged_net_sees_what_is_alike(folder):
    encoder = ImageEncoder(settings(folder))
    made = encoder.encode(shown("disc.jpg", "smaller.jpg", "stripes.png"))
    assert made.ok.all()
    assert made.vectors.shape == (3, encoder.dim) == (3, 1280)
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert made.vectors[0] @ made.vectors[1] > made.vectors[0] @ made.vectors[2] + 0.2
    again = ImageEncoder(settings(folder)).encode(shown("disc.jpg", "smaller.jpg", "stripes.png"))
    np.testing.assert_array_equal(again.vectors, made.vectors)


def test_a_bad_picture_is_a_reject_and_the_others_go_on(folder):
    encoder = ImageEncoder(settings(folder, batch_size=2))
    items = [*shown("disc.jpg", "broken.jpg", "../x.jpg"), item(), *shown("disc.jpg")]
    made = encoder.encode(items)
    assert made.ok.tolist() == [True, False, False, False, True]
    assert [(e.index, e.path) for e in made.errors] == [(1, "$.images[0]"), (2, "$.images[0]")]
    assert "not an image" in made.errors[0].reason
    assert not made.vectors[1:4].any()
    assert made.vectors[0] @ made.vectors[4] == pytest.approx(1, abs=1e-5)


def test_bfloat16_keeps_what_is_alike(folder):
    exact = ImageEncoder(settings(folder))
    chosen = ImageEncoderSettings(roots=(str(folder),))
    fast = ImageEncoder(EncoderSettings(precision="bfloat16", threads=1, image=chosen))
    assert fast.version != exact.version
    items = shown("disc.jpg", "smaller.jpg", "stripes.png")
    cosine = (fast.encode(items).vectors * exact.encode(items).vectors).sum(axis=1)
    assert cosine.min() > 0.99


def test_the_key_is_the_main_pictures_reference(folder):
    encoder = ImageEncoder(settings(folder))
    assert encoder.key(item()) is None
    assert encoder.key(item(images=("a.jpg", "b.jpg"))) == encoder.key(item(images=("a.jpg",)))
    assert encoder.key(item(images=("b.jpg",))) != encoder.key(item(images=("a.jpg",)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny open_clip model with random weights, saved as a user would save one."""
    from kindred.indexer.runtime import load_torch

    torch = load_torch(1)
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-test.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny-test.json")
    torch.manual_seed(3)
    model = open_clip.create_model("tiny-test")
    torch.save(model.state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


def test_open_clip_from_a_local_checkpoint(folder, checkpoint):
    chosen = settings(folder, model="tiny-test", pretrained=str(checkpoint))
    encoder = ImageEncoder(chosen)
    made = encoder.encode(shown("disc.jpg", "smaller.jpg", "stripes.png"))
    assert made.ok.all()
    assert made.vectors.shape == (3, encoder.dim) == (3, 32)
    again = ImageEncoder(chosen)
    assert again.version == encoder.version
    names = ("disc.jpg", "smaller.jpg", "stripes.png")
    np.testing.assert_array_equal(again.encode(shown(*names)).vectors, made.vectors)


def test_another_checkpoint_is_another_version(folder, checkpoint, tmp_path):
    first = ImageEncoder(settings(folder, model="tiny-test", pretrained=str(checkpoint)))
    copy = tmp_path / "same.pt"
    copy.write_bytes(checkpoint.read_bytes())
    same = ImageEncoder(settings(folder, model="tiny-test", pretrained=str(copy)))
    copy_version = same.version
    assert copy_version == first.version
    copy.write_bytes(b"other weights")
    other = ImageEncoder(settings(folder, model="tiny-test", pretrained=str(copy)))
    assert other.version != first.version
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        other.encode(shown("disc.jpg"))


def test_open_clip_without_weights_is_refused(folder):
    with pytest.raises(ArtefactError, match=r"encoders\.image\.pretrained"):
        _ = ImageEncoder(settings(folder, model="tiny-test")).version


def test_an_unknown_model_is_an_error_in_words(folder, checkpoint):
    unknown = ImageEncoder(settings(folder, model="no-such-net", pretrained=str(checkpoint)))
    with pytest.raises(ArtefactError, match="no-such-net"):
        unknown.encode(shown("disc.jpg"))
