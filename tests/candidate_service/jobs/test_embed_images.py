"""A net that one brings: the stored vector is the layer's output, and bad files are named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candidate_service.content_vectors import EMBEDDED, VISUAL
from candidate_service.jobs import build_catalogue, build_content_vectors, embed_images
from candidate_service.picture_net import PictureNet, prepared
from candidate_service.vector_index import open_index
from service_runtime.errors import InvalidRequest
from service_runtime.generations import GenerationStore
from service_runtime.vector_table import VectorTable, unit_rows
from tests.candidate_service.onnx_model import SIDE, features, make_weights, write_model
from tests.candidate_service.pictures import address, draw, encode
from tests.candidate_service.world import make_context, write_pins

pytest.importorskip("onnxruntime")

WEIGHTS = make_weights()


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Pins with pictures in addresses and files, and with things that are none."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "b.png").write_bytes(encode(draw(2)))
    (tmp_path / "secret.png").write_bytes(encode(draw(3)))
    urls = {
        "a": address(encode(draw(1))),
        "b": "b.png",
        "c": "https://example.com/c.png",
        "d": "../secret.png",
        "e": address(b"<html>"),
        "f": "missing.png",
        "g": "data:image/png,plain",
        "h": None,
    }
    write_pins(tmp_path, [{"pin_id": pin, "image_url": url} for pin, url in urls.items()])
    build_catalogue.run(make_context(tmp_path))
    return tmp_path


def embed(data_root: Path, **settings: Any) -> Mapping[str, Any]:
    """Run the job with the tiny net."""
    model = data_root / "net.onnx"
    if not model.exists():
        write_model(model, WEIGHTS)
    given = {"image_model_path": model, "image_model_output": "features"}
    folder = data_root / "pictures"
    return embed_images.run(make_context(data_root, image_folder=folder, **{**given, **settings}))


def vectors_of(data_root: Path) -> np.ndarray[Any, Any]:
    """Return the published vectors."""
    generation = GenerationStore(data_root / "generations").current(EMBEDDED)
    assert generation is not None
    return VectorTable.open(generation.file("vectors.npy")).vectors


def test_stored_vector_is_the_layers_output(world: Path) -> None:
    """The second-to-last layer, scaled to unit length, of pictures prepared as nets want them."""
    report = embed(world)

    pixels = np.stack([prepared(draw(1), SIDE), prepared(draw(2), SIDE)])
    expected = unit_rows(features(WEIGHTS, pixels))
    np.testing.assert_allclose(vectors_of(world)[:2], expected, atol=1e-5)
    assert not vectors_of(world)[2:].any()
    assert (report["vector_count"], report["new_count"], report["refused_count"]) == (2, 2, 5)


def test_what_is_no_picture_is_named(world: Path) -> None:
    """Each pin that has no vector is told with its reason; files outside are not read."""
    refused = dict(zip("cdefg", embed(world)["refused"], strict=True))

    assert "is not fetched" in refused["c"]
    assert "lies outside" in refused["d"]
    assert "is no picture" in refused["e"]
    assert "cannot be read" in refused["f"]
    assert "base64" in refused["g"]
    assert all(text.startswith(f"pin {pin!r}") for pin, text in refused.items())


def test_only_new_pictures_are_opened_again(world: Path) -> None:
    """The second run embeds what changed; another model embeds everything."""
    embed(world)
    before = vectors_of(world)
    write_pins(
        world, [{"pin_id": "b", "image_url": address(encode(draw(4))), "import_seq": 99}], file="b"
    )
    build_catalogue.run(make_context(world))

    assert embed(world)["new_count"] == 1
    after = vectors_of(world)
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[1], after[1])
    assert embed(world, image_model_output="classes")["new_count"] == 2


def test_embedded_pictures_become_searchable(world: Path) -> None:
    """Without imported visual vectors those of the net are indexed."""
    embed(world)
    report = build_content_vectors.run(make_context(world))

    generation = GenerationStore(world / "generations").current(VISUAL)
    assert generation is not None
    index = open_index(generation)
    assert report[VISUAL]["vector_count"] == 2
    assert index.nearest(index.vectors[:1], 1)[0][0].tolist() == [0]


def test_model_is_checked(world: Path) -> None:
    """No model, no such output, no net, a net for grey pictures: each refused with the remedy."""
    (world / "text.onnx").write_text("not a net")
    grey = write_model(world / "grey.onnx", make_weights(channels=1), channels=1)

    with pytest.raises(InvalidRequest, match="no model is named"):
        embed(world, image_model_path=None)
    with pytest.raises(InvalidRequest, match="has no output 'fc7'; it has classes, features"):
        embed(world, image_model_output="fc7")
    with pytest.raises(InvalidRequest, match="cannot be opened as an ONNX model"):
        embed(world, image_model_path=world / "text.onnx")
    with pytest.raises(InvalidRequest, match="takes"):
        PictureNet(grey)


def test_no_picture_at_all(tmp_path: Path) -> None:
    """A catalogue without pictures publishes nothing and says so."""
    write_pins(tmp_path, [{"pin_id": "a"}])
    build_catalogue.run(make_context(tmp_path))

    with pytest.raises(InvalidRequest, match="no pin has a picture"):
        embed(tmp_path)
