"""Training, straight down the page: data, model, updates, resume, epochs, test.

K experts, B batch, C classes, H height, W width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.augment import BatchAugment, normalize
from core.data.job_data import keep_splits, load_job_data, selection_batches, train_batches
from core.losses import DualPathLoss, LossParts
from core.model.assemble import build_model, expert_classes, load_sources, load_weights
from core.model.component_configs import component_configs
from core.model.model import Outputs
from core.plan.plan import make_plan
from core.policies import ComponentOptimizers, StepReport
from core.reporting.protocol import NullReporter, Reporter
from core.runtime import start_runtime, stop_runtime
from core.spec import ComponentName, EvaluateJob, ExpertJob, JobSpec
from core.train.best_components import BestComponents
from core.train.checkpoint import load_newest, save_checkpoint
from core.train.evaluate import Evaluation, evaluate
from core.train.finish import Result, finish, finished, read_result
from core.train.identity import keep_spec
from core.train.meter import Meter, Watch
from core.train.throughput import Throughput
from core.train.writer import Writer


def fit(
    spec: JobSpec,
    run_dir: Path,
    *,
    reporter: Reporter,
    data_roots: Sequence[Path],
    should_stop: Callable[[], bool] = lambda: False,
    device: str | None = None,
) -> Result:
    """Trains a job in its run directory, from its newest checkpoint if there is one, and measures it on test at last.

    Under RANK and WORLD_SIZE every process calls this alike. `should_stop` is asked after every step: once it says yes,
    the run checkpoints and returns with state `stopped`. Raises ValueError for what the user can mend (ComponentError
    for components that do not fit) and NonFiniteLossError.
    """
    assert not isinstance(spec, EvaluateJob), "evaluate_job takes those"
    runtime = start_runtime(spec, device)
    reporter = reporter if runtime.is_main else NullReporter()
    writer = Writer()
    try:
        # What is trained on what.
        sources = load_sources(spec)
        plan = make_plan(spec, data_roots, sources, activations=False)
        if finished(run_dir):
            keep_spec(plan.spec, sources, run_dir)
            return read_result(run_dir)
        spec, training = plan.spec, plan.spec.training
        epochs = training.epochs or 0
        phase = load_job_data(spec, data_roots)
        if runtime.is_main:
            keep_spec(spec, sources, run_dir)
            keep_splits(phase.splits, run_dir / "splits.npz")
        runtime.barrier()
        train, selection = train_batches(phase, spec, runtime), selection_batches(phase, spec, runtime)
        shape, mean, std = phase.shape, phase.dataset.mean, phase.dataset.std
        augment = BatchAugment(plan.augmentation.recipe, mean=mean, std=std, num_classes=shape.num_classes)

        # The model, and what moves it.
        torch.manual_seed(training.seed)
        model = build_model(spec, shape)
        # Frozen experts keep their own heads: a new one would never learn.
        frozen = "experts" in model.frozen
        load_weights(model, sources, shape, keep_heads=frozen)
        classes = expert_classes(spec, sources, phase.classes, keep_heads=frozen)
        model.to(runtime.device).to(memory_format=torch.channels_last)
        compiled = training.compile if training.compile is not None else runtime.device.type == "cuda"
        forward = runtime.prepare(model, compiled=compiled)
        criterion = DualPathLoss.from_spec(training.loss)
        parameters = {name: list(module.parameters()) for name, module in model.components().items()}
        policies = {name: getattr(training.components, name) for name in parameters}
        updates = ComponentOptimizers(
            parameters, policies, plan.rates, epochs=epochs, clip_norm=training.clip_norm or 0.0
        )
        meter, watch = Meter(runtime.device), Watch(runtime.device)
        keeper = BestComponents(
            run_dir / "components",
            component_configs(spec, model, phase, sources, classes),
            on_save=lambda manifest: reporter.emit("component", manifest),
        )

        # Where it goes on.
        step = epochs_done = 0
        checkpoints = run_dir / "checkpoints"
        saved = load_newest(
            checkpoints, lambda damage: reporter.emit("log", {"level": "warning", "message": f"not used: {damage}"})
        )
        if saved:
            # An epoch is done when it was measured: a run can stop between its last step and that.
            step, epochs_done = saved.step, saved.epoch
            model.load_state_dict(saved.state["model"])
            updates.load_state_dict(saved.state["updates"])
            meter.load_state_dict(saved.state["meter"])
            if runtime.is_main:
                keeper.relink()
            reporter.emit("log", {"level": "info", "message": f"going on from step {step} ({saved.path.name})"})
        reporter.emit("config", plan.to_json())
        reporter.emit("state", {"state": "running", "step": step})

        def snapshot() -> Any:
            return writer.snapshot(
                {"model": model.state_dict(), "updates": updates.state_dict(), "meter": meter.state_dict()}
            )

        def saving(state: Any) -> Callable[[], object]:
            at = {"step": step, "epoch": epochs_done, "keep": spec.checkpoint.keep}

            def save() -> None:
                began = time.monotonic()
                save_checkpoint(checkpoints, state, **at)
                pace.checkpoint_s = time.monotonic() - began

            return save

        def checkpoint() -> None:
            watch.check()
            if runtime.is_main:
                writer.submit(saving(snapshot()))

        per_epoch, total = train.steps_per_epoch, epochs * train.steps_per_epoch
        log_every = max(1, min(50, per_epoch // 4))
        pace = Throughput(start=step, steps=total, batch_size=train.batch_size)
        model.train()
        for epoch in range(epochs_done, epochs):
            updates.start_epoch(epoch)
            for images, labels in train.epoch(epoch, start_step=step - epoch * per_epoch):
                # Everything random in a step is a function of (seed, step): a resumed run draws the same.
                rng = np.random.default_rng([training.seed, step])
                torch.manual_seed(int(np.random.SeedSequence([training.seed, step, runtime.rank]).generate_state(1)[0]))
                inputs, targets = augment(images, labels, rng, rank=runtime.rank, world_size=runtime.world_size)
                with runtime.autocast():
                    outputs: Outputs = forward(runtime.format(inputs))
                # Frozen experts learn neither from the labels nor from one another.
                loss = criterion(outputs.fused, [] if frozen else outputs.experts, targets)
                loss.total.backward()
                reports = updates.step(last=step + 1 == total)
                watch.add(step, _watched(loss, reports))
                meter.add(_measured(loss, reports, outputs, targets, experts_trained=not frozen))
                step += 1
                if step % log_every == 0 or step % per_epoch == 0:
                    watch.check()
                    values = {key: runtime.mean(value) for key, value in meter.read().items()}
                    values |= {f"lr/{name}": rate for name, rate in updates.rates().items()}
                    if outputs.fused is not None:
                        values["lambda"] = training.loss.lambda_individual
                    reporter.emit("metrics", {"step": step, "values": pace.measured(step, runtime) | values})
                if pace.due(step) and step % per_epoch:
                    reporter.emit("progress", pace.progress(step, per_epoch))
                if runtime.any_rank(should_stop()) and step < total:
                    checkpoint()
                    writer.flush()
                    reporter.emit("state", {"state": "stopped", "step": step})
                    return Result("stopped", step, epochs_done, {})
                if spec.checkpoint.every_steps and step % spec.checkpoint.every_steps == 0 and step % per_epoch:
                    checkpoint()

            # The epoch is over: measure it, keep what is best.
            watch.check()
            measured = evaluate(
                model,
                selection.epoch(0),
                lambda u8: normalize(u8, mean, std),
                runtime,
                num_classes=shape.num_classes,
                classes=None if isinstance(spec, ExpertJob) else classes,
            )
            reporter.emit("metrics", {"step": step, "values": _selection_values(measured)})
            epochs_done = epoch + 1
            if runtime.is_main:
                state = snapshot()
                writes: list[Callable[[], object]] = [
                    *keeper.offers(state["model"], measured.metrics, epoch=epochs_done, step=step)
                ]
                if epochs_done % spec.checkpoint.every_epochs == 0 or epochs_done == epochs:
                    writes.append(saving(state))
                writer.submit(*writes)
            reporter.emit("progress", pace.progress(step, per_epoch))

        writer.flush()
        runtime.barrier()
        return finish(spec, run_dir, model, phase, sources, classes, runtime, reporter, step=step, epoch=epochs)
    finally:
        writer.close()
        stop_runtime(runtime)


def _watched(loss: LossParts, reports: dict[ComponentName, StepReport]) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {"individual": loss.individual, "global": loss.global_}
    return values | {str(name): report.norm for name, report in reports.items()}


def _measured(
    loss: LossParts,
    reports: dict[ComponentName, StepReport],
    outputs: Outputs,
    targets: Tensor,
    *,
    experts_trained: bool,
) -> dict[str, Tensor]:
    """One step's values by metric key, on the device."""
    values = {"train/loss_total": loss.total}
    if experts_trained:
        values["train/loss_individual"] = loss.individual
    labels_B = targets if targets.ndim == 1 else targets.argmax(dim=1)
    if outputs.fused is None:
        values["train/accuracy_expert_0"] = (outputs.experts[0].argmax(dim=1) == labels_B).double().mean()
    else:
        values["train/loss_global"] = loss.global_
        if experts_trained:
            values["train/loss_distillation"] = loss.distillation
        values["train/accuracy_fused"] = (outputs.fused.argmax(dim=1) == labels_B).double().mean()
    for name, report in reports.items():
        if report.clipped is not None:
            values |= {f"grad_norm/{name}": report.norm, f"clipped/{name}": report.clipped}
    return values


def _selection_values(measured: Evaluation) -> dict[str, float]:
    wanted = ("loss_global", "accuracy_fused", "accuracy_ensemble")
    return {
        f"val/{key}": value
        for key, value in measured.metrics.items()
        if key in wanted or key.startswith("accuracy_expert_")
    }
