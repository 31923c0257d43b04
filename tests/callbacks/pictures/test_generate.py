from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.simulated_ranks import SimulatedRanks
from trackside import Settings, Trainer
from trackside.callbacks.pictures.generate import Generate
from trackside.callbacks.reporting.report_page.texts import texts_of
from trackside.distributed import World
from trackside.errors import ConfigurationError
from trackside.lifecycle.hooks import Callback
from trackside.run import Run
from trackside.run_folder.identity import known_id
from trackside.tracking.media import Text
from trackside.trainer.settings import Result


class Letters:
    """Tokens are the codes of letters."""

    eos_token_id: int | None = None

    def encode(self, text: str) -> list[int]:
        return list(text.encode("latin-1"))

    def decode(self, tokens: list[int]) -> str:
        return bytes(tokens).decode("latin-1")


class Model(nn.Module):
    """Scores of the next letter by the last one, with dropout in training."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.letters = nn.Embedding(256, 8)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.dropout(self.letters(tokens)))
        return scores


class Asked(Model):
    """Has a method as models of transformers have it."""

    options: dict[str, Any]

    def generate(self, tokens: Tensor, **options: Any) -> Tensor:
        self.options = options
        drawn = torch.randint(97, 123, (1, options["max_new_tokens"]))
        return torch.cat([tokens, drawn], 1)


class Steps(Trainer):
    def training_step(self, run: Run, batch: Any) -> Any:
        (tokens,) = batch
        scores = run.model(tokens[:, :-1])
        return nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())


class Reads(Callback):
    """A tracker that takes texts."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, Text]] = []

    def on_text(self, run: Run, name: str, text: Text) -> None:
        self.texts.append((name, text))


weights: list[Tensor] = []
"""Of each run of `fit`, in order."""


def fit(*callbacks: Callback[Any], model: Any = Model, folder: str = "run") -> Result:
    lines = torch.randint(97, 123, (8, 6), generator=torch.Generator().manual_seed(1))
    trainer = Steps(
        model,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        callbacks=list(callbacks),
        defaults=False,
        seed=2,
        settings=Settings(device="cpu", directory=folder),
    )
    result = trainer.fit(torch.utils.data.TensorDataset(lines), epochs=2, batch_size=4)
    weights.append(torch.cat([p.detach().flatten() for p in trainer.models["model"].parameters()]))
    return result


def written(step: int, folder: str = "run", name: str = "generate") -> dict[str, Any]:
    path = Path(f"{folder}/texts/{name}/step-{step:010d}.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def alone(run: Run) -> None:
    """Let the run know of one callback, whoever asks."""
    run.callbacks = SimpleNamespace(name_of=lambda callback: "generate")  # type: ignore[assignment]


def test_texts_are_in_the_folder_and_go_to_trackers() -> None:
    reads = Reads()
    fit(Generate(["ab", "c"], tokenizer=Letters(), tokens=5), reads)

    texts = written(4)["texts"]
    assert [(one["prompt"], len(one["text"])) for one in texts] == [("ab", 7), ("c", 6)]
    assert [name for name, _ in reads.texts] == ["model/generate", "model/generate"]
    assert reads.texts[1][1].text.startswith("**ab**\n\n    ab")
    assert sorted(path.name for path in Path("run/texts/generate").iterdir()) == [
        "step-0000000002.json",
        "step-0000000004.json",
    ]


def says(word: str) -> Callable[[Run, str, torch.Generator], str]:
    return lambda run, prompt, generator: f"{prompt} {word}"


def test_two_of_them_write_to_places_of_their_own() -> None:
    first, second = Generate(["a"], function=says("one")), Generate(["a"], function=says("two"))
    second.name = "second"
    reads = Reads()
    fit(first, second, reads)

    assert written(4)["texts"] == [{"prompt": "a", "text": "a one"}]
    assert written(4, name="second")["texts"] == [{"prompt": "a", "text": "a two"}]
    assert {name for name, _ in reads.texts} == {"model/generate", "model/second"}
    assert [one.texts for one in texts_of(Path("run"), 4)] == [[("a", "a one")], [("a", "a two")]]


def test_the_report_takes_none_of_an_earlier_run_in_the_folder() -> None:
    fit(Generate(["a"], "4 steps", function=says("old")))
    fit(Generate(["a"], "2 steps", function=says("older")))
    fit(Generate(["a"], "3 steps", function=says("new")))

    assert written(4)["run_id"] != written(3)["run_id"] == known_id(Path("run"))
    assert [one.texts for one in texts_of(Path("run"), 4)] == [[("a", "a new")]]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("model", [Model, Asked])
def test_training_is_what_it_was_without_it(temperature: float, model: Any) -> None:
    texts = Generate(["ab"], "1 step", tokenizer=Letters(), temperature=temperature)
    fit(texts, model=model)
    fit(model=model)

    assert torch.equal(weights[-1], weights[-2])


@pytest.mark.parametrize("model", [Model, Asked])
def test_the_same_run_writes_the_same_texts(model: Any) -> None:
    for folder in ("one", "other"):
        texts = Generate(["a", "a"], tokenizer=Letters(), temperature=2.0, tokens=9)
        torch.rand(3 if folder == "other" else 5)
        fit(texts, model=model, folder=folder)

    assert written(2, "one")["texts"] == written(2, "other")["texts"]
    first, second = written(2, "one")["texts"]
    assert first != second, "each prompt has draws of its own"
    assert written(2, "one")["texts"] != written(4, "one")["texts"]


@pytest.mark.parametrize("model", [Model, Asked])
def test_generators_of_training_have_no_part_in_the_texts(model: Any, tmp_path: Path) -> None:
    silent: Any = SimpleNamespace(fire=lambda *given: None, current_callback=None)
    run = Run("fit", tmp_path, events=lambda run: silent)
    run.models, run.world, run.device = {"model": model()}, World(), torch.device("cpu")
    run.precision = SimpleNamespace(autocast=None)  # type: ignore[assignment]
    alone(run)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        Generate(["a"], tokenizer=Letters(), temperature=2.0, tokens=9).on_due(run)
        found.append((tmp_path / "texts/generate/step-0000000000.json").read_text())

    assert found[0] == found[1]


def test_another_seed_writes_other_texts() -> None:
    for seed in (0, 1):
        texts = Generate(["a"], tokenizer=Letters(), temperature=2.0, tokens=9, seed=seed)
        fit(texts, folder=f"seed-{seed}")

    assert written(2, "seed-0")["texts"] != written(2, "seed-1")["texts"]


def test_the_model_evaluates_and_has_its_mode_back() -> None:
    modes: list[bool] = []

    def look(run: Run, prompt: str, generator: torch.Generator) -> str:
        modes.append(run.model.training)
        return prompt

    class After(Callback):
        def on_step_end(self, run: Run) -> None:
            modes.append(run.model.training)

    fit(Generate(["a"], "3 steps", function=look), After())
    assert modes == [True, True, False, True, True]


def test_a_model_with_a_method_is_asked_by_it() -> None:
    models: list[Asked] = []

    class Keeps(Callback):
        def on_fit_end(self, run: Run) -> None:
            models.append(run.model)  # type: ignore[arg-type]

    fit(Generate(["ab"], tokenizer=Letters(), tokens=3), Keeps(), model=Asked)
    options = models[0].options

    assert (options["max_new_tokens"], options["do_sample"]) == (3, False)
    assert "temperature" not in options
    assert len(written(4)["texts"][0]["text"]) == 5


def test_what_a_function_gives_must_be_text() -> None:
    given: Any = lambda run, prompt, generator: 3  # noqa: E731
    result = fit(Generate(["a"], "4 steps", function=given))

    assert result.failed_callbacks == {"generate": 1}


def test_of_several_ranks_all_take_part_and_one_writes(tmp_path: Path) -> None:
    def program(world: World) -> tuple[int, bool]:
        silent: Any = SimpleNamespace(fire=lambda *given: None, current_callback=None)
        run = Run("fit", tmp_path / str(world.rank), events=lambda run: silent)
        run.models, run.world, run.device = {"model": Model()}, world, torch.device("cpu")
        run.precision = SimpleNamespace(autocast=None)  # type: ignore[assignment]
        alone(run)
        asked: list[str] = []

        def answer(run: Run, prompt: str, generator: torch.Generator) -> str:
            asked.append(prompt)
            return prompt

        Generate(["a"], function=answer).on_due(run)
        return len(asked), (run.directory / "texts").exists()

    assert SimulatedRanks(2).run(program) == [(1, True), (1, False)]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"prompts": "text"}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"prompts": [1]}, "prompts"),
        ({"tokenizer": None}, "tokenizer"),
        ({"tokenizer": 3}, "tokenizer"),
        ({"tokenizer": None, "function": str, "temperature": 1.0}, "function"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"tokens": 0}, "tokens"),
        ({"context": 0}, "context"),
        ({"seed": -1}, "seed"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], option: str) -> None:
    given: dict[str, Any] = {"prompts": ["a"], "tokenizer": Letters(), **options}
    with pytest.raises(ConfigurationError) as caught:
        Generate(given.pop("prompts"), **given)
    assert caught.value.option == option
