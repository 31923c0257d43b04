"""The view for `args` of the Hugging Face Trainer."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from trackside.dialects.sizes import rank_batch_size
from trackside.dialects.view import View, epochs_of, optimizer_of, validation_name

DEFAULTS: dict[str, Any] = {
    "lr_scheduler_type": "linear",
    "lr_scheduler_kwargs": None,
    "warmup_steps": 0,
    "warmup_ratio": 0.0,
    "optim_args": None,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "optim_target_modules": None,
    "average_tokens_across_devices": True,
    "label_smoothing_factor": 0.0,
    "bf16_full_eval": False,
    "fp16_full_eval": False,
    "tf32": None,
    "activation_checkpointing": None,
    "activation_checkpointing_kwargs": None,
    "gradient_checkpointing": False,
    "gradient_checkpointing_kwargs": None,
    "torch_compile": False,
    "torch_compile_backend": None,
    "torch_compile_mode": None,
    "use_liger_kernel": False,
    "liger_kernel_config": None,
    "use_cache": False,
    "neftune_noise_alpha": None,
    "torch_empty_cache_steps": None,
    "auto_find_batch_size": False,
    "log_on_each_node": True,
    "logging_nan_inf_filter": True,
    "include_num_input_tokens_seen": "no",
    "log_level": "passive",
    "log_level_replica": "warning",
    "project": "huggingface",
    "trackio_space_id": None,
    "trackio_bucket_id": None,
    "trackio_static_space_id": None,
    "eval_steps": None,
    "prediction_loss_only": False,
    "eval_on_start": False,
    "eval_do_concat_batches": True,
    "eval_use_gather_object": False,
    "eval_accumulation_steps": None,
    "include_for_metrics": [],
    "batch_eval_metrics": False,
    "save_only_model": False,
    "save_steps": 500,
    "save_on_each_node": False,
    "save_safetensors": True,
    "save_total_limit": None,
    "enable_jit_checkpoint": False,
    "push_to_hub": False,
    "hub_token": None,
    "hub_private_repo": None,
    "hub_model_id": None,
    "hub_strategy": "every_save",
    "hub_always_push": False,
    "hub_revision": None,
    "ignore_data_skip": False,
    "restore_callback_states_from_checkpoint": False,
    "full_determinism": False,
    "data_seed": None,
    "use_cpu": False,
    "accelerator_config": None,
    "parallelism_config": None,
    "dataloader_drop_last": False,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": True,
    "dataloader_persistent_workers": False,
    "dataloader_prefetch_factor": None,
    "dataloader_multiprocessing_context": None,
    "dataloader_in_order": True,
    "remove_unused_columns": True,
    "label_names": None,
    "train_sampling_strategy": "random",
    "length_column_name": "length",
    "ddp_find_unused_parameters": None,
    "ddp_bucket_cap_mb": None,
    "ddp_broadcast_buffers": None,
    "ddp_static_graph": None,
    "ddp_backend": None,
    "ddp_timeout": 1800,
    "fsdp": None,
    "fsdp_config": None,
    "deepspeed": None,
    "debug": "",
    "skip_memory_metrics": True,
    "do_train": True,
    "do_predict": False,
    "resume_from_checkpoint": None,
}
"""Their settings that a run has no equal of, at their defaults: read by many callbacks, and they
claim nothing about the run."""


class TrainingArguments(View):
    """Stands for `args`: settings of the run under their names.

    Args:
        given: Settings that the run doesn't know, such as `metric_for_best_model`.
    """

    dialect = "transformers"
    stands_for = "TrainingArguments"
    refuses_settings = True
    instead: ClassVar[dict[str, str]] = {
        "push_to_hub": "nothing is pushed: do that after training",
        "deepspeed": "ranks divide the model by `Settings(strategy=...)`",
    }

    def __init__(self, **given: Any) -> None:
        super().__init__()
        vars(self)["given"] = given

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "given":
            given: dict[str, Any] = vars(self).get("given", {})
            if name in given:
                return given[name]
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        if name in DEFAULTS:
            return DEFAULTS[name]
        return super().__getattr__(name)

    @property
    def output_dir(self) -> str:
        """The run's folder."""
        return str(self.run.directory)

    logging_dir = output_dir

    @property
    def run_name(self) -> str:
        """Name of the run: that of its folder."""
        return self.run.directory.name

    @property
    def num_train_epochs(self) -> int | None:
        """Epochs of the run."""
        return epochs_of(self.run)

    @property
    def max_steps(self) -> int:
        """The limit in steps, -1 where the run is limited by epochs."""
        steps = self.run.limit.steps
        return -1 if steps is None else steps

    @property
    def per_device_train_batch_size(self) -> int | None:
        """Samples of a training batch of this rank."""
        return rank_batch_size(self.run, "train")

    @property
    def per_device_eval_batch_size(self) -> int | None:
        """Samples of a batch of the validation."""
        return rank_batch_size(self.run, validation_name(self.run))

    @property
    def gradient_accumulation_steps(self) -> int:
        """Batches per step."""
        return self.run.accumulate

    @property
    def learning_rate(self) -> float:
        """Learning rate of the first group, now."""
        return self._of_groups("lr", 0.0)

    @property
    def weight_decay(self) -> float:
        """Weight decay of the first group."""
        return self._of_groups("weight_decay", 0.0)

    def _of_groups(self, name: str, default: float) -> float:
        optimizer = optimizer_of(self.run)
        value: float = (
            default if optimizer is None else optimizer.param_groups[0].get(name, default)
        )
        return value

    @property
    def optim(self) -> str | None:
        """Name of the optimizer's class, in lower case."""
        optimizer = optimizer_of(self.run)
        return None if optimizer is None else type(optimizer).__name__.lower()

    @property
    def max_grad_norm(self) -> float:
        """The norm to which gradients are clipped, 0 where they aren't."""
        clip = getattr(self.run.steps, "clip", None)
        norm = clip if isinstance(clip, (int, float)) else getattr(clip, "norm", None)
        return float(norm or 0.0)

    @property
    def logging_steps(self) -> int:
        """Steps from one record to the next; where they are made on another schedule, 500."""
        return _steps_of(self.run.config.get("log_every")) or 500

    @property
    def train_batch_size(self) -> int | None:
        """Samples of a training batch of this rank."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int | None:
        """Samples of a batch of the validation on this rank."""
        return self.per_device_eval_batch_size

    @property
    def n_gpu(self) -> int:
        """Accelerators of this rank."""
        return 0 if self.run.device.type == "cpu" else 1

    @property
    def local_rank(self) -> int:
        """Number of this rank on its machine, -1 where there is one alone."""
        return self.run.world.local_rank if self.run.world.size > 1 else -1

    @property
    def do_eval(self) -> bool:
        """Whether there is data for validation."""
        return validation_name(self.run) is not None

    @property
    def eval_strategy(self) -> str:
        """`epoch`, or `no` without data for validation."""
        return "no" if validation_name(self.run) is None else "epoch"

    @property
    def metric_for_best_model(self) -> str | None:
        """`loss`, unless it is given."""
        return None if validation_name(self.run) is None else "loss"

    @property
    def greater_is_better(self) -> bool:
        """False, unless it is given."""
        return False

    @property
    def load_best_model_at_end(self) -> bool:
        """False: see the callback `Checkpoint`."""
        return False

    @property
    def save_strategy(self) -> str:
        """`no`: saving is up to the callback `Checkpoint`."""
        return "no"

    @property
    def logging_strategy(self) -> str:
        """`no`: records are made on the trainer's own schedule."""
        return "no"

    @property
    def logging_first_step(self) -> bool:
        """False."""
        return False

    @property
    def eval_delay(self) -> int:
        """0."""
        return 0

    @property
    def seed(self) -> int | None:
        """Seed of the run, where it has one."""
        seed: int | None = self.run.config.get("seed")
        return seed

    @property
    def fp16(self) -> bool:
        """Whether the run computes in half precision."""
        return self.run.config.get("precision") == "fp16"

    @property
    def bf16(self) -> bool:
        """Whether the run computes in bfloat16."""
        return self.run.config.get("precision") == "bf16"

    @property
    def world_size(self) -> int:
        """Ranks of the run."""
        return self.run.world.size

    @property
    def process_index(self) -> int:
        """Number of this rank."""
        return self.run.world.rank

    @property
    def local_process_index(self) -> int:
        """Number of this rank on its machine."""
        return self.run.world.local_rank

    @property
    def should_save(self) -> bool:
        """Whether this rank writes files."""
        return self.run.world.is_global_zero

    should_log = should_save

    @property
    def disable_tqdm(self) -> bool:
        """False."""
        return False

    @property
    def report_to(self) -> list[str]:
        """Empty: loggers are callbacks."""
        return []

    @property
    def device(self) -> Any:
        """Device of the model."""
        return self.run.device

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        names = [n for n, v in vars(TrainingArguments).items() if isinstance(v, property)]
        values = {name: getattr(self, name) for name in names if name != "device"}
        return {**DEFAULTS, **values, **vars(self)["given"]}

    def to_json_string(self) -> str:
        """All settings as JSON."""
        return json.dumps(self.to_dict(), indent=2, default=str)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """All settings by name, those that aren't plain values as text."""
        plain = (bool, int, float, str)
        return {n: v if isinstance(v, plain) else str(v) for n, v in self.to_dict().items()}


def _steps_of(schedule: object) -> int | None:
    """The steps of a schedule such as `50 steps`; None for another one."""
    found = re.fullmatch(r"(?:every )?(\d+) steps?", str(schedule))
    return int(found[1]) if found else None
