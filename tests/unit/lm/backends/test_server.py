"""Proves that a URL is a model of the backend `server`: what is asked of it at connect, what it is known by afterwards,
and that nothing of it needs torch where no tokenizer is given. The network is a scripted server in memory.
"""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from solon.errors import ConfigError, MissingExtraError, ModelError
from solon.lm import LanguageModel, ModelSpec, SpellingModel, find_backend, find_nameless_identity
from solon.lm.backends import server as backend
from solon.pipeline.models import check_askable, check_trainable, identify_model
from tests.servers.dialects import OpenAI, Silent, Vllm
from tests.unit.lm.server.serving import OPTIONS, chat

URL = "http://localhost:8000/v1#m"


@pytest.fixture
def served(monkeypatch):
    """Put a scripted server where the network is; the one in the list is asked."""
    servers = [Vllm()]

    @contextmanager
    def open_transport(address, settings):
        yield servers[-1]

    monkeypatch.setattr(backend, "open_transport", open_transport)
    monkeypatch.setattr(backend, "_FOUND", {})
    return servers


@pytest.mark.parametrize("url", [URL, "https://api.example.com/v1#m", "HTTP://localhost:8000/v1#m", "ftp://host/v1#m"])
def test_a_url_is_a_server(url):
    spec = ModelSpec(source=url)
    assert (spec.backend, spec.source) == ("server", url)
    assert find_backend(spec) is backend
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_named_backend_is_taken_as_named():
    assert ModelSpec(source=f"server:{URL}") == ModelSpec(source=URL)
    assert ModelSpec(source=URL, backend="local").backend == "local"


def test_a_model_in_this_process_takes_no_settings_of_a_server():
    with pytest.raises(ValidationError, match="says how a server is asked, and this model is in this process"):
        ModelSpec(source="folder", server={"votes": 3})


def test_a_server_is_a_language_model_that_the_pipeline_opens(served):
    spec = ModelSpec(source=URL)
    with find_backend(spec).open_model(spec) as model:
        assert isinstance(model, LanguageModel)
        assert isinstance(model, SpellingModel)
        assert not model.limit_only_cuts
        assert asyncio.run(model.choose(chat(), OPTIONS)).model == model.identity


def test_it_can_be_identified_and_opened_within_an_event_loop(served):
    async def work():
        backend.identify(ModelSpec(source=URL))
        with backend.open_model(ModelSpec(source=URL, layout="single")) as model:
            return (await model.choose(chat(), OPTIONS)).dialect

    assert asyncio.run(work()) == "chat top_logprobs"


def test_a_model_is_opened_as_it_was_identified(served):
    backend.identify(ModelSpec(source=URL))
    asked = len(served[-1].asked)
    with backend.open_model(ModelSpec(source=URL)):
        assert len(served[-1].asked) == asked


def test_the_identity_is_the_models_and_not_the_place(served):
    here = identify_model(ModelSpec(source=URL))
    assert identify_model(ModelSpec(source="https://elsewhere:9/v1#m")) == here
    served.append(Silent())
    assert identify_model(ModelSpec(source=URL)) != here
    served.append(Vllm())
    assert identify_model(ModelSpec(source=URL)) == here
    assert identify_model(ModelSpec(source=URL, layout="single")) != here
    with backend.open_model(ModelSpec(source=URL)) as model:
        assert "localhost" not in find_nameless_identity(model)


def test_other_weights_under_one_name_are_another_model_where_the_server_names_them(served, monkeypatch):
    here = identify_model(ModelSpec(source=URL))
    monkeypatch.setattr(Vllm, "listed", lambda self: {"id": "m", "owned_by": "vllm", "root": "org/other"})
    assert identify_model(ModelSpec(source=URL)) != here


def test_what_the_chat_template_is_told_is_part_of_the_identity(served):
    told = ModelSpec(source=URL, chat_template_kwargs={"enable_thinking": False})
    with backend.open_model(told) as model, backend.open_model(ModelSpec(source=URL)) as plain:
        assert model.identity != plain.identity
        asyncio.run(model.choose(chat(), OPTIONS))
    assert served[-1].asked[-1][1]["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_model_that_is_not_served_is_named_with_those_that_are(served):
    with pytest.raises(ModelError, match=r"8000/v1#n: .* does not serve a model 'n': expected one of m"):
        backend.identify(ModelSpec(source="http://localhost:8000/v1#n"))


def test_a_url_without_a_model_is_refused(served):
    with pytest.raises(ConfigError, match="no model is named: put its name behind a #"):
        backend.identify(ModelSpec(source="http://localhost:8000/v1"))


def test_a_server_cannot_be_trained():
    with pytest.raises(ModelError, match="the backend server has no checkpoint to train"):
        check_trainable("assistant", ModelSpec(source=URL))
    assert check_askable("feedback", ModelSpec(source=URL)) == ()


def test_a_tokenizer_without_transformers_says_what_to_install(served, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "solon.lm.server.tokens", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("solon.nets")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"\[local\]"):
        backend.identify(ModelSpec(source=URL, server={"tokenizer": "folder"}))


def test_without_a_tokenizer_nothing_of_torch_is_loaded():
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'openai', 'aiolimiter')))\n"
        "import solon.lm.backends.server, solon.cli.app\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert done.returncode == 0, done.stderr


def test_min_p_is_refused_where_the_server_is_not_known_to_take_it(served):
    from solon.records import Sampling

    sampling = Sampling(max_tokens=4, min_p=0.1)
    served.append(OpenAI())
    with backend.open_model(ModelSpec(source=URL)) as model:
        with pytest.raises(ModelError, match=r"min_p is 0.1, and this server is not known to take it") as error:
            asyncio.run(model.generate(chat(), sampling, seed=0))
        assert type(error.value) is ModelError  # not the failure of one item: no other would fare better
    served.append(Vllm())
    with backend.open_model(ModelSpec(source=URL, layout="single")) as model:
        asyncio.run(model.generate(chat(), sampling, seed=0))
    assert served[-1].asked[-1][1]["min_p"] == 0.1


def test_drawn_labels_of_another_number_of_draws_are_another_models(served):
    served.append(Silent())
    few, many = (backend.identify(ModelSpec(source=URL, server={"votes": votes})) for votes in (4, 8))
    assert few != many
    assert few == backend.identify(ModelSpec(source=URL, server={"votes": 4, "max_tries": 3}))
