"""A nano model of half a minute, built and measured through the command line: loads anywhere, resumes, is recorded."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.nets import weights_digest
from solon.world.nano.build import documents_digest, load_nano_manifest
from tests.e2e.conftest import call_solon

pytestmark = pytest.mark.slow

RECIPE = {
    "tokens": 250_000,
    "tokenizer_lessons": 500,
    "width": 64,
    "layers": 2,
    "heads": 2,
    "batch_tokens": 8192,
    "processes": 1,
}
BUILD = ["world", "build", *(word for field, value in RECIPE.items() for word in ("--set", f"{field}={value}"))]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano") / "model"
    done = call_solon(*BUILD, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_manifest_says_how_it_was_made_and_the_loss_fell(built):
    manifest = load_nano_manifest(built)
    assert manifest["config"].items() >= RECIPE.items()
    assert manifest["digest"] == weights_digest(built)
    assert manifest["documents"] == documents_digest()
    assert 250_000 * 0.9 < manifest["tokens"] < 250_000 * 1.2
    curve = [loss for _, loss in manifest["loss_curve"]]
    assert curve[-1] < curve[0] - 1.0


def test_it_is_a_plain_hugging_face_checkpoint(built):
    model = AutoModelForCausalLM.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How can I bake a cake?"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert model.generate(ids, max_new_tokens=4, do_sample=False).shape[1] > ids.shape[1]
    assert (model.config.model_type, model.config.num_hidden_layers) == ("llama", 2)


def test_the_same_command_again_changes_nothing(built):
    before = weights_digest(built)
    done = call_solon(*BUILD, "--out", built)
    assert done.returncode == 0, done.stderr
    assert weights_digest(built) == before


@pytest.mark.parametrize("change", ["learning_rate=0.001", "answer_weight=1"])
def test_another_recipe_in_the_same_folder_is_refused(built, change):
    before = weights_digest(built)
    done = call_solon(*BUILD, "--set", change, "--out", built)
    assert done.returncode == 2
    assert change.split("=")[0] in done.stderr
    assert weights_digest(built) == before


def test_check_measures_it_and_records_the_table(built):
    done = call_solon("world", "check", "--model", built, "--n", "10", "--split", "dev", "--record")
    assert done.returncode == 1, done.stderr  # such a model reaches next to no bar
    assert "NOT reached" in done.stdout
    recorded = load_nano_manifest(built)["abilities"]
    assert (recorded["split"], recorded["seed"]) == ("dev", 0)
    rows = {row["name"]: row for row in recorded["rows"]}
    assert 0.2 < rows["comparison: mean"]["value"] < 0.8  # chance: it has read no principle yet
    assert rows["comparison: order flips"]["value"] > rows["comparison: order flips"]["bar"]
