"""Pictures that strangers send: every limit holds, and a bad picture is a reject with a path."""

from __future__ import annotations

import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image, ImageFile

from kindred.indexer.encoders.fetch import is_public
from kindred.indexer.encoders.images import ImageReader
from kindred.schemas.errors import ImageRejected
from kindred.schemas.settings import ImageEncoderSettings


def picture(width: int = 60, height: int = 80, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


class Shop(http.server.BaseHTTPRequestHandler):
    """A shop's picture server, with every way to go wrong."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.split("?")[0]
        try:
            getattr(self, f"do_{name.strip('/').split('.')[0].split('/')[0]}")()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def do_good(self) -> None:
        self.answer(picture())

    def do_missing(self) -> None:
        self.answer(b"", 404)

    def do_page(self) -> None:
        self.answer(b"<html>no picture</html>")

    def do_announced(self) -> None:
        self.answer(b"", 200, **{"Content-Length": "99000000"})

    def do_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")

    def do_drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x")
            if self.server.closing.wait(0.05):
                return

    def do_silent(self) -> None:
        self.server.closing.wait(60)

    def do_moved(self) -> None:
        self.answer(b"", 302, Location="/good.jpg")

    def do_round(self) -> None:
        self.answer(b"", 302, Location="/round")

    def do_inside(self) -> None:
        self.answer(b"", 302, Location="http://169.254.169.254/latest/meta-data")

    def do_tofile(self) -> None:
        self.answer(b"", 302, Location="file:///etc/passwd")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    server.closing = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.closing.set()
    server.shutdown()
    server.server_close()


def web(**settings: object) -> ImageReader:
    given = {"allow_private_hosts": True, "timeout_s": 0.6, "max_bytes": 100_000, **settings}
    return ImageReader(ImageEncoderSettings(**given))


def test_a_picture_from_the_web(shop):
    assert web().read(f"{shop}/good.jpg").size == (60, 80)
    assert web().read(f"{shop}/moved").size == (60, 80)
    assert web().read(f"{shop}/good.jpg?size=L&name=a b").mode == "RGB"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "answered 404"),
        ("page", "not an image"),
        ("announced", "larger than 100000 bytes"),
        ("endless", "larger than 100000 bytes"),
        ("drip", "longer than 0.6 s"),
        ("silent", "longer than 0.6 s"),
        ("round", "more than 4 redirects"),
        ("tofile", "other than http"),
    ],
)
def test_what_the_web_gets_wrong_is_said(shop, name, reason):
    with pytest.raises(ImageRejected, match=reason) as refused:
        web().read(f"{shop}/{name}", "$.items[2].images[0]")
    assert refused.value.path == "$.items[2].images[0]"


def test_private_hosts_are_refused_by_default(shop):
    for url in (shop, shop.replace("127.0.0.1", "localhost"), "http://[::1]:80", "http://10.0.0.1"):
        with pytest.raises(ImageRejected, match="private"):
            web(allow_private_hosts=False).read(f"{url}/good.jpg")


def test_a_redirect_into_the_private_network_is_refused(shop, monkeypatch):
    import socket

    real = socket.getaddrinfo

    def public_name(host, *args, **kwargs):
        # The shop's name resolves to a public address here; what is behind it is the loopback.
        found = real("127.0.0.1" if host == "shop.test" else host, *args, **kwargs)
        return [(*f[:4], ("93.184.216.34", *f[4][1:])) for f in found] if "shop" in host else found

    class Loopback:
        def connect_tcp(self, host, *args, **kwargs):
            assert host == "93.184.216.34", "must connect to the address that was checked"
            return SyncBackend().connect_tcp("127.0.0.1", *args, **kwargs)

    from httpcore import SyncBackend

    from kindred.indexer.encoders import fetch

    monkeypatch.setattr(fetch.socket, "getaddrinfo", public_name)
    monkeypatch.setattr(fetch.httpcore, "SyncBackend", Loopback)
    url = shop.replace("127.0.0.1", "shop.test")
    reader = web(allow_private_hosts=False)
    assert reader.read(f"{url}/good.jpg").size == (60, 80)
    with pytest.raises(ImageRejected, match=r"'169\.254\.169\.254' is private"):
        reader.read(f"{url}/inside")


def test_public_and_private_addresses():
    public = ("93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822")
    private = (
        "127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    )  # fmt: skip
    assert all(map(is_public, public))
    assert not any(map(is_public, private))


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///a.jpg", "http://a b/", "ftp://example.org/a.jpg", "http://shop:notaport/a",
     "http://no-such-host.invalid/a.jpg", "data://text"],
)  # fmt: skip
def test_what_is_no_address_is_rejected(url):
    with pytest.raises(ImageRejected):
        web().read(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").write_bytes(picture())
    (tmp_path / "secret.jpg").write_bytes(picture())
    (tmp_path / "root" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return tmp_path


def local(folder: Path, **settings: object) -> ImageReader:
    return ImageReader(ImageEncoderSettings(roots=(str(folder / "root"),), **settings))


def test_a_path_is_read_below_the_roots_only(folder):
    reader = local(folder)
    for name in ("a.jpg", str(folder / "root/a.jpg"), f"file://{folder}/root/a.jpg"):
        assert reader.read(name).size == (60, 80)
    for name in ("../secret.jpg", str(folder / "secret.jpg"), "link.jpg", "none.jpg", "a\0.jpg"):
        with pytest.raises(ImageRejected):
            reader.read(name)
    with pytest.raises(ImageRejected, match="roots"):
        ImageReader(ImageEncoderSettings()).read(str(folder / "root/a.jpg"))


def test_only_regular_files_of_a_decent_size_are_read(folder):
    os.mkfifo(folder / "root/pipe")
    for name in ("pipe", "."):
        with pytest.raises(ImageRejected):
            local(folder).read(name)
    with pytest.raises(ImageRejected, match="larger than 100 bytes"):
        local(folder, max_bytes=100).read("a.jpg")


def test_a_picture_that_would_fill_memory_is_refused_unread(folder):
    huge = Image.new("1", (20_000, 20_000))
    huge.save(folder / "root/bomb.png")
    assert (folder / "root/bomb.png").stat().st_size < 100_000
    with (
        patch.object(ImageFile.ImageFile, "load", side_effect=AssertionError("decoded")),
        pytest.raises(ImageRejected, match="pixels"),
    ):
        local(folder).read("bomb.png")
    with pytest.raises(ImageRejected, match="60 x 80 pixels, more than 4000"):
        local(folder, max_pixels=4000).read("a.jpg")


def test_damaged_pictures_are_rejected(folder):
    whole = picture()
    damaged = {"cut.jpg": whole[: len(whole) // 2], "empty.jpg": b"", "noise.jpg": b"\xff\xd8" * 99}
    for name, content in damaged.items():
        (folder / "root" / name).write_bytes(content)
        with pytest.raises(ImageRejected):
            local(folder).read(name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "I;16"])
def test_every_mode_becomes_rgb(folder, kind, mode):
    try:
        (folder / "root/x").write_bytes(picture(kind=kind, mode=mode))
    except (OSError, ValueError):
        pytest.skip(f"{kind} cannot hold {mode}")
    image = local(folder).read("x")
    assert (image.mode, image.size) == ("RGB", (60, 80))


def test_transparent_is_white_and_photos_stand_upright(folder):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(folder / "root/clear.png")
    assert local(folder).read("clear.png").getpixel((4, 4)) == (255, 255, 255)
    grey = Image.fromarray(np.full((8, 8), 32_768, np.uint16))
    grey.save(folder / "root/deep.png")
    assert local(folder).read("deep.png").getpixel((4, 4)) == (128, 128, 128)
    sideways = Image.new("RGB", (60, 80))
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(folder / "root/turned.jpg", exif=exif)
    assert local(folder).read("turned.jpg").size == (80, 60)
