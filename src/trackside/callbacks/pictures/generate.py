"""`Generate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, final

import torch

from trackside.callbacks.pictures.continuing import Tokenizer, continued, encoded
from trackside.callbacks.pictures.samples import check_average, undisturbed
from trackside.errors import ConfigurationError, DataError, UnknownModelError
from trackside.lifecycle.periodic import PeriodicCallback
from trackside.machine import randomness
from trackside.progress import whole_number
from trackside.run import Run
from trackside.run_folder.identity import known_id
from trackside.run_folder.inside import replace_inside
from trackside.run_folder.names import TEXTS
from trackside.schedule import Schedule
from trackside.tracking.media import Media, Text

Function = Callable[[Run, str, torch.Generator], str]


@final
class Generate(PeriodicCallback):
    """Lets a language model continue prompts, so that one can read what it has learnt.

    A model with a method `generate`, as those of transformers have it, is asked by that; any other
    is called with tokens `(1, L)` and gives scores `(1, L, V)`, of which the next token is taken,
    one after another. `function` does it in another way. The model evaluates meanwhile, and has its
    modes back afterwards. Texts are drawn from a generator seeded by `seed`, the step and the
    place of the prompt: the generators of the run are left alone, and the same weights give the
    same texts. On several ranks all of them take part, and rank 0 writes.

    The texts are in `texts/<name of this callback>/step-0000000100.json` in the run's folder and in
    its report, and go to every tracker that shows texts as `<model>/<name of this callback>`.

    Args:
        prompts: Texts to continue, one or more.
        every: When.
        tokenizer: Has `encode(text)` and `decode(tokens)`. None only with `function`.
        function: Makes the text of a prompt: `function(run, prompt, generator)`; the generator is
            one of torch's, on the host, and torch's own are seeded as well.
        tokens: How many to add at most, 1 or more.
        temperature: 0 takes the likeliest token each time; above 0 they are drawn, from scores
            divided by it.
        context: How many of the last tokens the model gets, where it takes no more; None: all.
            Without effect on `generate`. Beside `function` these three are refused.
        model: Name of the model, where there are several; None takes the run's first one.
        average: Name of a callback whose averages continue, such as `ema`; None takes the weights
            themselves.
        seed: Of what is drawn, 0 or more.

    Raises:
        ConfigurationError: Options out of range, no prompt, or neither a tokenizer nor a function;
            when training starts, as a warning: there are no such averages.
        UnknownModelError: When training starts, as a warning: there is no such model.
        DataError: As a warning: what the model gives are no scores, or the function gives no text.

    Example:
        >>> Generate(["def "], every="1000 steps", function=lambda run, prompt, generator: prompt)
    """

    effect = "observes"
    on_error = "warn"
    runs_in = ("fit",)
    calls_collectives = True
    runs_after = ("ema", "swa")
    writes = ("folder",)

    def __init__(
        self,
        prompts: Sequence[str],
        every: Schedule | str = "1 epoch",
        *,
        tokenizer: Tokenizer | None = None,
        function: Function | None = None,
        tokens: int = 64,
        temperature: float = 0.0,
        context: int | None = None,
        model: str | None = None,
        average: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(every)
        self.prompts = _checked(prompts)
        if (tokenizer is None) == (function is None):
            raise ConfigurationError(
                "`Generate` needs a tokenizer or a function, one of them",
                expected="tokenizer=..., with `encode` and `decode`; or function=...",
                option="tokenizer",
            )
        if not 0 <= temperature < float("inf"):
            raise ConfigurationError(
                f"temperature={temperature!r} can't be used",
                expected="0 or a positive number",
                option="temperature",
            )
        if tokenizer is not None and not (
            hasattr(tokenizer, "encode") and hasattr(tokenizer, "decode")
        ):
            raise ConfigurationError(
                f"{type(tokenizer).__name__} can't be used as a tokenizer",
                expected="methods `encode` and `decode`",
                option="tokenizer",
            )
        if function is not None and (temperature, context, tokens) != (0.0, None, 64):
            raise ConfigurationError(
                "`temperature`, `context` and `tokens` have no effect beside a function",
                remedy="leave them out: the function makes the whole text",
                option="function",
            )
        self.tokenizer = tokenizer
        self.function = function
        self.tokens = whole_number(tokens, "tokens", at_least=1)
        self.temperature = temperature
        self.context = context
        if context is not None:
            whole_number(context, "context", at_least=1)
        self.model = model
        self.average = average
        self.seed = whole_number(seed, "seed")
        self.folder: str | None = None

    def on_attach(self, run: Run) -> None:
        self.folder = f"{TEXTS}/{run.callbacks.name_of(self)}"

    def on_fit_start(self, run: Run) -> None:
        super().on_fit_start(run)
        check_average(run, self.average)
        self._writer(run)

    def on_due(self, run: Run) -> None:
        name, model = self._writer(run)
        step = run.progress.steps_completed
        with undisturbed(run, self.average), torch.no_grad():
            texts = [
                self._text(run, model, prompt, self._generator(step, place))
                for place, prompt in enumerate(self.prompts)
            ]
        if run.world.is_global_zero:
            self._show(run, name, texts)

    def _writer(self, run: Run) -> tuple[str, Any]:
        """Name of the model, and the model."""
        name = self.model or next(n for n, one in run.models.items() if one is run.model)
        if name not in run.models:
            raise UnknownModelError.among(run.models, name, "to write texts", option="model")
        return name, run.models[name]

    def _generator(self, step: int, place: int) -> torch.Generator:
        """The generator of a prompt; torch's own are seeded with it, for who draws from those."""
        seed = (self.seed * 1_000_003 + step * 1009 + place) % randomness.SEED_LIMIT
        randomness.seed_everything(seed)
        return torch.Generator().manual_seed(seed)

    def _text(self, run: Run, model: Any, prompt: str, generator: torch.Generator) -> str:
        if self.function is not None:
            text: object = self.function(run, prompt, generator)
            if not isinstance(text, str):
                raise DataError(
                    "the function of `Generate` gives no text",
                    expected="str",
                    received=type(text).__name__,
                )
            return text
        assert self.tokenizer is not None  # one of the two was asked for
        tokens = encoded(self.tokenizer, prompt)
        if callable(getattr(model, "generate", None)):
            return self.tokenizer.decode(self._by_method(run, model, tokens))
        made = continued(
            model,
            tokens,
            self.tokens,
            temperature=self.temperature,
            generator=generator,
            device=run.device,
            context=self.context,
            end=getattr(self.tokenizer, "eos_token_id", None),
        )
        return self.tokenizer.decode(made)

    def _by_method(self, run: Run, model: Any, tokens: list[int]) -> list[int]:
        given = torch.tensor([tokens], device=run.device)
        drawn = {"temperature": self.temperature} if self.temperature else {}
        made = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=self.tokens,
            do_sample=self.temperature > 0,
            **drawn,
        )
        return [int(token) for token in made[0]]

    def _show(self, run: Run, model: str, texts: list[str]) -> None:
        step = run.progress.steps_completed
        own = run.callbacks.name_of(self)
        name = f"{model}/{own}"
        pairs = list(zip(self.prompts, texts, strict=True))
        rows = [{"prompt": prompt, "text": made} for prompt, made in pairs]
        content = {
            "run_id": known_id(run.directory),
            "name": name,
            "step": step,
            "temperature": self.temperature,
            "texts": rows,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        replace_inside(run.directory, f"{TEXTS}/{own}/step-{step:010d}.json", text + "\n")
        parts = [f"**{prompt}**\n\n{_as_block(made)}" for prompt, made in pairs]
        run.emit(Media.on_text, name, Text("\n\n".join(parts)))


def _checked(prompts: object) -> list[str]:
    """The prompts. Raises `ConfigurationError`."""
    are_texts = isinstance(prompts, Sequence) and all(isinstance(one, str) for one in prompts)
    if isinstance(prompts, str) or not are_texts or not prompts:
        raise ConfigurationError(
            f"prompts={prompts!r} are no texts to continue",
            expected="a list of texts, one or more",
            option="prompts",
        )
    return list(prompts)  # type: ignore[call-overload, no-any-return]


def _as_block(text: str) -> str:
    """Lines that Markdown shows as they are, whatever stands in them."""
    return "\n".join("    " + line for line in text.split("\n"))
