"""Proves that a build of the nano model goes on only with the recipe and the documents that it began with."""

import json
from contextlib import contextmanager

import pytest
from pydantic import ValidationError

from solon.errors import RunError
from solon.pipeline.folder import lock_folder
from solon.records import Span
from solon.world import corpus
from solon.world.corpus import LessonTurn
from solon.world.nano import build
from solon.world.nano.build import NanoConfig, documents_digest, run_nano_build

RECIPE = NanoConfig(tokens=1000)


@pytest.fixture
def unbuilt(monkeypatch):
    """Builds stop where the work would begin."""
    monkeypatch.setattr(build, "documents_digest", lambda: "these")
    monkeypatch.setattr(build, "_build", lambda *_: {"built": True})


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
    (tmp_path / "nano" / ".build").mkdir(parents=True)
    (tmp_path / "nano" / ".build" / ".recipe.json.7.tmp").write_text("{")  # killed before its recipe was written
    assert run_nano_build(RECIPE, tmp_path / "nano") == {"built": True}
    kept = (tmp_path / "nano" / ".build" / "recipe.json").read_text()
    assert run_nano_build(RECIPE, tmp_path / "nano") == {"built": True}
    with pytest.raises(RunError, match=r"another recipe(.|\n)*config\.tokens: 1000 -> 2000\n"):
        run_nano_build(NanoConfig(tokens=2000), tmp_path / "nano")
    assert (tmp_path / "nano" / ".build" / "recipe.json").read_text() == kept


@pytest.mark.parametrize("name", ["documents", "templates", "constitution", "code_version"])
def test_a_build_goes_on_only_with_what_it_began_with(tmp_path, unbuilt, name):
    run_nano_build(RECIPE, tmp_path / "nano")
    path = tmp_path / "nano" / ".build" / "recipe.json"
    began = json.loads(path.read_text())
    path.write_text(json.dumps({**began, name: "another"}))
    with pytest.raises(RunError, match=rf"\n  {name}: another -> {began[name]}\n"):
        run_nano_build(RECIPE, tmp_path / "nano")


def test_a_build_that_does_not_say_what_it_is_of_does_not_go_on(tmp_path, unbuilt):
    run_nano_build(RECIPE, tmp_path / "nano")
    (tmp_path / "nano" / ".build" / "training").mkdir()
    (tmp_path / "nano" / ".build" / "recipe.json").unlink()
    with pytest.raises(RunError, match=r"holds no recipe\.json"):
        run_nano_build(RECIPE, tmp_path / "nano")


def finish(folder, **manifest):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def test_a_finished_build_is_known_by_recipe_and_documents(tmp_path, unbuilt):
    config = RECIPE.model_dump(mode="json")
    done = finish(tmp_path, config=config, documents="these", code_version="0")
    assert run_nano_build(RECIPE, tmp_path) == done
    done = finish(tmp_path, config=config)  # as the manifests of the first builds, that of the shipped model among them
    assert run_nano_build(RECIPE, tmp_path) == done
    finish(tmp_path, config=config, documents="others")
    with pytest.raises(RunError, match=r"other documents(.|\n)*documents: others -> these(.|\n)*another folder"):
        run_nano_build(RECIPE, tmp_path)
    with pytest.raises(RunError, match=r"config\.tokens: 1000 -> 2000"):
        run_nano_build(NanoConfig(tokens=2000), tmp_path)
    finish(tmp_path, of="something else")
    with pytest.raises(RunError, match="another recipe"):
        run_nano_build(RECIPE, tmp_path)


def test_the_digest_of_the_documents_is_of_texts_trust_losses_and_answers(monkeypatch):
    def ask_untrusted(text):
        return LessonTurn("user", (Span(text=text, trusted=False),), (0.0,))

    changes = {
        "ASK_REQUEST": "What is asked?",
        "VERDICT_LOSS": 2.0,
        "prefer_by": lambda *_: 0.5,
        "_asked": ask_untrusted,
    }
    digests = {documents_digest(2)}
    assert digests == {documents_digest(2)}
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(corpus, name, value)
            digests.add(documents_digest(2))
    assert len(digests) == 1 + len(changes)


def test_two_builds_in_one_folder_are_refused(tmp_path, unbuilt):
    run_nano_build(RECIPE, tmp_path / "nano")
    with lock_folder(tmp_path / "nano" / ".build"), pytest.raises(RunError, match=r"process \d+ is working here"):
        run_nano_build(RECIPE, tmp_path / "nano")


def test_a_build_that_another_process_has_just_finished_is_not_made_again(tmp_path, unbuilt, monkeypatch):
    @contextmanager
    def finished_meanwhile(work):
        finish(work.parent, config=RECIPE.model_dump(mode="json"), digest="theirs")
        yield

    monkeypatch.setattr(build, "lock_folder", finished_meanwhile)
    assert run_nano_build(RECIPE, tmp_path / "nano")["digest"] == "theirs"


def test_a_folder_that_cannot_be_made_or_holds_something_else_is_refused(tmp_path, unbuilt):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be made"):
        run_nano_build(RECIPE, tmp_path / "file" / "nano")
    with pytest.raises(RunError, match="no build of a nano model"):
        run_nano_build(RECIPE, tmp_path)
