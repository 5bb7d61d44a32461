"""Proves that a build of the nano model goes on only with the recipe and the documents that it began with."""

import json

import pytest
from pydantic import ValidationError

from solon.errors import RunError
from solon.pipeline import nano_build
from solon.pipeline.folder import lock_folder
from solon.pipeline.nano_build import NanoConfig, documents_digest, run_nano_build
from solon.world import corpus

RECIPE = NanoConfig(tokens=1000)


@pytest.fixture
def unbuilt(monkeypatch):
    """Builds stop where the work would begin."""
    monkeypatch.setattr(nano_build, "documents_digest", lambda: "these")
    monkeypatch.setattr(nano_build, "_build", lambda *_: {"built": True})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": 3}, "width 128 cannot be cut into 3 heads"),
        ({"width": 36}, "width 36 cannot be cut into 4 heads of even size"),
        ({"max_length": 256}, "max_document 448 is more than max_length 256"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_at_once(change, said):
    with pytest.raises(ValidationError, match=said):
        NanoConfig(**change)


def test_a_build_that_was_interrupted_goes_on_with_the_same_recipe_only(tmp_path, unbuilt):
    (tmp_path / "nano" / ".build").mkdir(parents=True)  # killed before its recipe was written
    assert run_nano_build(RECIPE, tmp_path / "nano") == {"built": True}
    kept = (tmp_path / "nano" / ".build" / "recipe.json").read_text()
    assert run_nano_build(RECIPE, tmp_path / "nano") == {"built": True}
    with pytest.raises(RunError, match=r"another recipe.*tokens is 1000, not 2000"):
        run_nano_build(NanoConfig(tokens=2000), tmp_path / "nano")
    assert (tmp_path / "nano" / ".build" / "recipe.json").read_text() == kept


@pytest.mark.parametrize("finished", [False, True])
def test_documents_that_have_changed_since_are_another_recipe(tmp_path, unbuilt, monkeypatch, finished):
    run_nano_build(RECIPE, tmp_path / "nano")
    if finished:
        manifest = {"config": RECIPE.model_dump(mode="json"), "documents": "these"}
        (tmp_path / "nano" / "manifest.json").write_text(json.dumps(manifest))
        assert run_nano_build(RECIPE, tmp_path / "nano") == manifest
    monkeypatch.setattr(nano_build, "documents_digest", lambda: "others")
    with pytest.raises(RunError, match="documents is these, not others"):
        run_nano_build(RECIPE, tmp_path / "nano")


def test_the_digest_of_the_documents_is_of_texts_losses_and_answers(monkeypatch):
    digests = {documents_digest(2)}
    assert digests == {documents_digest(2)}
    for name, value in (("ASK_REQUEST", "What is asked?"), ("VERDICT_LOSS", 2.0), ("prefer_by", lambda *_: 0.5)):
        with monkeypatch.context() as patch:
            patch.setattr(corpus, name, value)
            digests.add(documents_digest(2))
    assert len(digests) == 4


def test_two_builds_in_one_folder_are_refused(tmp_path, unbuilt):
    run_nano_build(RECIPE, tmp_path / "nano")
    with lock_folder(tmp_path / "nano" / ".build"), pytest.raises(RunError, match="another process"):
        run_nano_build(RECIPE, tmp_path / "nano")


def test_a_folder_that_cannot_be_made_or_holds_something_else_is_refused(tmp_path, unbuilt):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"):
        run_nano_build(RECIPE, tmp_path / "file" / "nano")
    with pytest.raises(RunError, match="no build of a nano model"):
        run_nano_build(RECIPE, tmp_path)
