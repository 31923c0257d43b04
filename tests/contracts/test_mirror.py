"""`tests/` mirrors `src/`: a module has a test file that carries its name, or stands below."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "trackside"
TESTS = REPOSITORY / "tests"

COMMANDS = "cli/test_commands.py"  # runs each command, as a person types it
REPORTS = "callbacks/reporting/report_page/"
KEPT_RUNS = "cli/test_kept_runs.py"  # the commands that read runs which are over
UPLOADS = "remote/test_uploads.py"
REPLAY = "proof/test_replay.py"
WRONG_FILES = "config/test_wrong_files.py"  # holds every message about a file, word for word

# Where a module without a test file of its name is tested: a part of what that file is about.
TESTED_IN = {
    "by_hand/assembling.py": "by_hand/test_attached.py",
    "by_hand/led.py": "by_hand/test_attached.py",
    "by_hand/steps.py": "by_hand/test_attached.py",
    "callbacks/averaging/batch_norm.py": "callbacks/averaging/test_swa.py",
    "callbacks/evaluation/own_batches.py": "callbacks/evaluation/test_evaluate.py",
    "callbacks/saving/state_of_run.py": "callbacks/saving/test_checkpoint.py",
    "resume/lightning_host.py": "resume/test_hosts.py",
    "resume/transformers_host.py": "resume/test_hosts.py",
    "schedule/grids.py": "schedule/test_forecast.py",
    "schedule/text.py": "schedule/test_every.py",
    "run_folder/names.py": "run_folder/test_inside.py",
    "run_folder/small_files.py": REPORTS + "test_reading.py",
    "callbacks/reporting/decisions.py": REPORTS + "test_reading.py",
    "callbacks/reporting/journal.py": REPORTS + "test_reading.py",
    "callbacks/reporting/report_page/described.py": REPORTS + "test_page.py",
    "callbacks/reporting/report_page/findings.py": REPORTS + "test_diagnosis.py",
    "callbacks/reporting/report_page/time_rules.py": REPORTS + "test_diagnosis.py",
    "callbacks/reporting/report_page/value_rules.py": REPORTS + "test_diagnosis.py",
    "callbacks/reporting/report_page/pictures.py": REPORTS + "test_page.py",
    "callbacks/reporting/report_page/static_curves.py": REPORTS + "test_page.py",
    "callbacks/reporting/receipt_contents.py": "callbacks/reporting/test_receipt.py",
    "cli/verify.py": "proof/test_verification.py",
    "cli/observe.py": "proof/test_late_callbacks.py",
    "callbacks/reporting/provenance.py": "trainer/test_program.py",
    "callbacks/saving/file_names.py": "callbacks/saving/test_save_weights.py",
    "callbacks/saving/put_weights.py": "callbacks/saving/test_load_weights.py",
    "callbacks/saving/weight_files.py": "callbacks/saving/test_save_weights.py",
    "checkpoint/commit.py": "checkpoint/test_writer.py",
    "checkpoint/errors.py": "checkpoint/test_reader.py",
    "checkpoint/lookup.py": "loop/test_resume.py",
    "checkpoint/saver.py": "loop/test_resume.py",
    "cli/ask.py": KEPT_RUNS,
    "cli/callback_index.py": "cli/test_callbacks.py",
    "cli/callback_pages.py": "docs/test_reference.py",
    "cli/evaluate.py": KEPT_RUNS,
    "cli/inspect.py": KEPT_RUNS,
    "cli/main.py": COMMANDS,
    "cli/plan.py": COMMANDS,
    "cli/predict.py": KEPT_RUNS,
    "cli/replay.py": REPLAY,
    "cli/refusal.py": COMMANDS,
    "cli/resume.py": KEPT_RUNS,
    "cli/running.py": COMMANDS,
    "cli/runs.py": KEPT_RUNS,
    "cli/schema.py": "config/test_schema.py",
    "cli/sweep.py": "search/test_sweep.py",
    "search/processes.py": "search/test_sweep.py",
    "search/working.py": "search/test_sweep.py",
    "search/store.py": "search/test_sweep.py",
    "cli/train.py": COMMANDS,
    "config/checking/blueprint.py": WRONG_FILES,
    "config/checking/hints.py": "config/checking/test_kinds.py",
    "config/checking/options.py": "config/test_reference.py",
    "config/checking/path_values.py": "config/test_paths_in_options.py",
    "config/checking/trainer_options.py": WRONG_FILES,
    "config/checking/trial.py": WRONG_FILES,
    "config/checking/values.py": WRONG_FILES,
    "config/checking/wording.py": WRONG_FILES,
    "config/experiment/held.py": "config/experiment/test_plan.py",
    "config/experiment/kept.py": KEPT_RUNS,
    "config/experiment/loading.py": "config/experiment/test_experiment.py",
    "config/experiment/programs.py": "trainer/test_program.py",
    "config/experiment/remotely.py": "remote/test_copies.py",
    "config/experiment/sections.py": "config/experiment/test_experiment.py",
    "callbacks/watching/capsule_files.py": "proof/test_capsules.py",
    "callbacks/scheduling/fitting_sizes.py": "callbacks/scheduling/test_batch_size_finder.py",
    "callbacks/scheduling/host_peak.py": "callbacks/scheduling/test_batch_size_finder.py",
    "callbacks/watching/ways_out.py": "callbacks/watching/test_out_of_memory.py",
    "callbacks/watching/event_ring.py": "callbacks/watching/test_crash_capsule.py",
    "distributed/averaging.py": "distributed/test_halving.py",
    "step/halving.py": "loop/test_halving.py",
    "lifecycle/member.py": "lifecycle/test_dispatch.py",
    "distributed/abandoned.py": "distributed/test_links.py",
    "config/experiment/trusted.py": "config/experiment/test_planted_links.py",
    "config/text/interpolation.py": "config/text/test_layers.py",
    "config/text/naming.py": "config/test_builtin_callbacks.py",
    "config/text/overrides.py": "config/text/test_layers.py",
    "config/text/place.py": "config/text/test_document.py",
    "config/text/problem.py": WRONG_FILES,
    "data/fingerprints.py": "data/test_every_sample_once.py",
    "data/generators.py": "data/test_same_batches_as_the_loader.py",
    "data/loaders.py": "data/test_source_aside.py",
    "data/recognition.py": "data/test_every_sample_once.py",
    "data/splits.py": "data/test_every_sample_once.py",
    "data/order.py": "loop/test_predict.py",
    "data/seekable.py": "loop/test_snapshot.py",
    "data/shares.py": "distributed/test_sharding.py",
    "records.py": "test_history.py",
    "data/stateful.py": "loop/test_snapshot.py",
    "data/source.py": "data/test_source_aside.py",
    "distributed/ddp.py": "distributed/test_parallel.py",
    "distributed/fsdp.py": "distributed/test_parallel.py",
    "distributed/architecture.py": "distributed/test_past_the_model.py",
    "distributed/buffers.py": "distributed/test_one_model.py",
    "distributed/words.py": "distributed/test_past_the_model.py",
    "distributed/session.py": "distributed/test_training.py",
    "distributed/strategies.py": "distributed/test_training.py",
    "guests/in_ignite.py": "guests/test_hosts.py",
    "guests/in_keras.py": "guests/test_hosts.py",
    "guests/in_lightning.py": "guests/test_hosts.py",
    "guests/in_transformers.py": "guests/test_hosts.py",
    "callbacks/saving/upload.py": UPLOADS,
    "callbacks/stopping/rolling_back.py": "callbacks/stopping/test_loss_spikes.py",
    "cli/copies.py": "remote/test_copies.py",
    "remote/bringing.py": UPLOADS,
    "remote/fetching.py": UPLOADS,
    "remote/joining.py": UPLOADS,
    "remote/mirror.py": UPLOADS,
    "remote/patience.py": UPLOADS,
    "remote/sending.py": UPLOADS,
    "trainer/remote_folder.py": UPLOADS,
    "lifecycle/ordering.py": "lifecycle/test_collection.py",
    "loop/evaluate.py": "loop/test_fit.py",
    "loop/recording.py": "loop/test_fit.py",
    "loop/safe_points.py": "loop/test_fit.py",
    "loop/state.py": "loop/test_fit.py",
    "loop/stepping.py": "loop/test_compiled.py",
    "loop/replicated.py": "distributed/test_past_the_model.py",
    "loop/update.py": "loop/test_fit.py",
    "planning/on_ranks.py": "distributed/test_past_the_model.py",
    "planning/checks.py": "planning/test_diagnostics.py",
    "machine/randomness.py": "loop/test_snapshot.py",
    "run_folder/identity.py": "run_folder/test_of_run.py",
    "cli/blame.py": "proof/test_blame.py",
    "proof/joining.py": REPLAY,
    "proof/weighing.py": "proof/test_blame.py",
    "proof/made_again.py": REPLAY,
    "proof/recorded.py": REPLAY,
    "proof/retrace.py": REPLAY,
    "run_folder/ownership.py": "run_folder/test_claim.py",
    "run_folder/process.py": "run_folder/test_claim.py",
    "testing/scripted_loop.py": "testing/test_scripting.py",
    "testing/comparing.py": "testing/test_contract.py",
    "testing/failing_disk.py": "testing/test_contract.py",
    "testing/laboratory.py": "testing/test_contract.py",
    "testing/leaks.py": "testing/test_contract.py",
    "testing/rules.py": "testing/test_contract.py",
    "testing/simulated_world.py": "testing/test_contract.py",
    "trainer/chosen_class.py": "dialects/test_lightning_modules.py",
    "trainer/defaults.py": "callbacks/test_default_set.py",
    "trainer/settings.py": "loop/test_fit.py",
    "trainer/trainer.py": "loop/test_fit.py",
    # A dialect's parts are an inside; its promises are tested in one file per framework.
    "dialects/state_file.py": "dialects/test_dream_trainer.py",
    "dialects/training_metrics.py": "dialects/test_values_of_hooks.py",
    "dialects/view.py": "dialects/test_translation.py",
}


def file_for(module: Path) -> Path:
    """Where `module`, a path in the package, is tested; the file need not exist."""
    if module.as_posix() in TESTED_IN:
        return Path(TESTED_IN[module.as_posix()])
    if module.parts[0] == "dialects" and len(module.parts) == 3:
        return Path("dialects", f"test_{module.parts[1]}.py")
    return module.parent / f"test_{module.name}"


def test_every_module_has_a_test_file_that_exists() -> None:
    modules = [p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if p.name[:2] != "__"]

    missing = {str(m): str(file_for(m)) for m in modules if not (TESTS / file_for(m)).is_file()}

    assert missing == {}


def test_the_map_names_modules_that_exist_and_have_no_test_file_of_their_name() -> None:
    stale = [
        name
        for name in TESTED_IN
        if not (PACKAGE / name).is_file()
        or (TESTS / Path(name).parent / f"test_{Path(name).name}").is_file()
    ]

    assert stale == []


def test_every_test_file_holds_a_test() -> None:
    empty = [
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("test_*.py")
        if not any(
            isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]

    assert empty == []
