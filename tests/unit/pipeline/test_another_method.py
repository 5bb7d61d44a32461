"""Proves that another method is another list of stages: DPO in the place of preference model and PPO is evaluated,
tabled, reported, shown, talked to and ended early as the paper's stages are, and nothing but its page knows it.
"""

import json
import sys
from types import ModuleType

import pytest

from solon.cli.chat import find_model
from solon.cli.tables import results_table
from solon.errors import ConfigError, RunError
from solon.evaluation import Evaluation
from solon.pipeline.ancestry import describe
from solon.pipeline.artifacts import TEMPLATES, Checkpoint, Curve
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.run import run
from solon.pipeline.sources import _file, _imports, find_sources, sources_digest
from solon.pipeline.stage import Outcome
from solon.pipeline.stages.comparisons import COMPARE
from solon.pipeline.stages.feedback import LABEL, PAIRS
from solon.pipeline.stages.method import CONSTITUTIONAL_AI
from solon.pipeline.stages.sft import SL_CAI
from solon.records import Chart, EvalRecord, Figure, Grade, Measure, Measures, RunPaths, load_records
from solon.report import write_report
from solon.storage import replace_file
from solon.world.task import WorldTask
from tests.pipeline_fakes import SMALL, FakeModels
from tests.unit.pipeline.test_run import Log

DPO_CAI = Checkpoint("dpo-cai", title="DPO-CAI")
DPO_CURVE = Curve("dpo", charts=(Chart(caption="DPO: loss (nats)", keys=("dpo/loss",)),))


def optimize(context):
    """Train by nothing: the folder is that of SL-CAI, with other words in it."""
    pairs = context.read(PAIRS)
    for name in ("model.json", "config.json"):
        file = context.path(DPO_CAI) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        body = {"refuses": 0.9, "from": context.folder(SL_CAI).name, "architectures": ["LlamaForCausalLM"]}
        with replace_file(file) as temporary:
            temporary.write_text(json.dumps(body))
    with replace_file(context.path(DPO_CURVE)) as temporary:
        temporary.write_text('{"step": 1, "dpo/loss": 0.7}\n{"step": 2, "dpo/loss": 0.5}\n')
    return Outcome(counts={"in": len(pairs), "kept": len(pairs)}, metrics={"margin": 1.5})


OPTIMIZE = Stage(
    "dpo",
    settings=("heldout_pairs",),
    reads=(TEMPLATES, PAIRS, SL_CAI),
    writes=(DPO_CAI, DPO_CURVE),
    work=optimize,
    trains=(SL_CAI,),
    figures=(Figure(caption="DPO: margin of the rewards", metrics=("margin",)),),
)

CAI_DPO = Graph(*CONSTITUTIONAL_AI.until("sl-cai"), COMPARE, LABEL, OPTIMIZE)


class Longer:
    """Prefers the longer answer."""

    identity = "longer/1"
    measures = Measures(rates=(Measure(group="benign", name="wins", caption="Benign: longer", better="higher"),))

    async def compare(self, prompt, response, reference, open_model):
        return Grade(values={"wins": 0.5 + 0.5 * (len(response.text) > len(reference.text))})


class TwiceMeasured(WorldTask):
    """The world, and beside it a win rate against the base on its benign prompts."""

    identity = "world and wins/1"

    def evaluations(self, sizes, *, seed):
        main, *others = super().evaluations(sizes, seed=seed)
        grader = Longer()
        groups = {"benign": main.prompts["benign"]}
        return [main, *others, Evaluation("wins", "Longer than the base's", groups, grader, grader.measures)]


def start(tmp_path, fakes, *, log=None, overrides=(), **options):
    with fakes.installed():
        return run(
            out=tmp_path / "run",
            preset="smoke",
            overrides={**SMALL, **fakes.assistant, **dict(overrides)},
            observer=log or Log(),
            **{"method": CAI_DPO, **options},
        )


@pytest.fixture
def fakes(tmp_path):
    return FakeModels(tmp_path / "fakes")


def test_another_method_is_another_list(tmp_path, fakes):
    log = Log()
    result = start(tmp_path, fakes, log=log, task=TwiceMeasured())
    stages = ["prompts", "revision", "sft", "comparisons", "feedback", "dpo", "evaluation"]
    assert [name for name, _ in log.finished] == [*stages, "report"]
    assert list(result.results["stages"]) == stages
    assert list(result.results["models"]) == ["base", "sl-cai", "dpo-cai"]
    assert result.results["preference_model"] is result.results["ppo"] is None
    assert result.results["ai_labels"] > 0
    table = results_table(result.results)
    assert [line.split()[0] for line in table.split("wins, ")[0].split("\n") if "AI" in line] == [
        "SL-CAI",
        "DPO-CAI",
    ] * 2
    assert "DPO-CAI" in table.split("wins, ")[1]

    page = result.report.read_text()
    for words in ("DPO-CAI", "DPO: loss (nats)", "DPO: margin of the rewards", "1.50", "Longer than the base’s"):
        assert words.replace("’", "&#39;") in page or words in page
    for words in ("PPO", "RL-CAI", "Preference model:", "a base model’s answers are criticised"):
        assert words not in page
    assert write_report(result.folder).read_text() == page

    answers = load_records(RunPaths(result.folder).records("evaluation"), EvalRecord)
    (answer, *_) = [a for a in answers if (a.model_name, a.evaluation) == ("dpo-cai", "wins")]
    assert "dpo-cai, wins, benign" in describe(result.folder, answer.id)
    assert find_model(result.folder, "dpo-cai").source == str(RunPaths(result.folder).model("dpo-cai"))
    assert find_model(result.folder, None) == find_model(result.folder, "dpo-cai")
    with pytest.raises(ConfigError, match=r"--model dpo: no such model; did you mean 'dpo-cai'\?"):
        find_model(result.folder, "dpo")


def test_it_can_be_ended_early_done_in_part_and_gone_on_with(tmp_path, fakes):
    with pytest.raises(ConfigError, match="--until ppo: no stage and no artifact is called so"):
        start(tmp_path, fakes, until="ppo")
    with pytest.raises(ConfigError, match="--only ppo: no stage is called so"):
        start(tmp_path, fakes, only="ppo")
    early = start(tmp_path, fakes, until="preference_pairs")
    assert list(early.results["models"]) == ["base", "sl-cai"]
    with pytest.raises(
        RunError, match="this run has no sl-cai yet"
    ):  # the fakes leave no checkpoint that can be opened
        find_model(early.folder, None)
    log = Log()
    start(tmp_path, fakes, only="dpo", log=log)
    assert log.finished == [("dpo", False)]
    whole = start(tmp_path, fakes, log=log)
    assert [name for name, skipped in log.finished[1:] if not skipped] == ["evaluation", "report"]
    assert list(whole.results["models"]) == ["base", "sl-cai", "dpo-cai"]


def test_a_stage_in_a_script_is_known_by_the_script_and_one_without_a_source_is_refused(tmp_path, monkeypatch):
    script = tmp_path / "mine.py"
    main = ModuleType("__main__")
    main.__spec__ = None
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(ConfigError, match="a stage is written in __main__, which has no source file: put it in a mod"):
        sources_digest("__main__")
    digests = []
    for text in ("import solon.storage", "import solon.storage, json"):
        script.write_text(text)
        main.__file__ = str(script)
        _file.cache_clear()
        _imports.cache_clear()
        digests.append(sources_digest("__main__"))
        assert "solon.storage.digests" in find_sources("__main__")
    assert digests[0] != digests[1]


def test_the_folder_of_one_method_goes_on_with_another_and_shares_its_stages(tmp_path, fakes):
    start(tmp_path, fakes)
    log = Log()
    whole = start(tmp_path, fakes, log=log, method=CONSTITUTIONAL_AI)
    assert [name for name, skipped in log.finished if not skipped] == [
        "preference-model",
        "ppo",
        "evaluation",
        "report",
    ]
    assert list(whole.results["models"]) == ["base", "sl-cai", "rl-cai"]
    assert whole.results["method"] is None
    assert "DPO" not in whole.report.read_text()
