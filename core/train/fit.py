"""The training loop: data, model, optimizers, resume, epochs, test.

K experts, B batch size, C classes, H height, W width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.augment import BatchAugment, normalize
from core.data.batches import Batch
from core.data.job_data import keep_splits, selection_batches, train_batches, training_sample
from core.model.assemble import build_model, complete_spec, expert_classes, load_sources, load_weights
from core.model.component_configs import component_configs
from core.model.model import Outputs
from core.plan.data_size import count_images
from core.plan.optimizer_groups import optimizer_groups
from core.plan.plan import make_plan
from core.policies import ComponentOptimizers
from core.reporting.activity import Activity
from core.reporting.protocol import NullReporter, Reporter
from core.run.content import ContentCache
from core.run.rundir import RunDir
from core.runtime import start_runtime, stop_runtime
from core.spec import EvaluateJob, ExpertJob, JobSpec
from core.train.best_components import BestComponents
from core.train.checkpoint import checkpoint_sha256, damage_alert, load_newest, save_checkpoint
from core.train.component_precision import record_precision
from core.train.data_content import load_with_content
from core.train.epoch_metrics import epoch_metrics, without_untrained_heads
from core.train.evaluate import evaluate
from core.train.evaluation_metrics import Evaluation
from core.train.expert_dropout import present_experts
from core.train.finish import finish
from core.train.identity import begin_identity, check_result, record_identity
from core.train.meter import Meter
from core.train.non_finite import NonFiniteDetector, NonFiniteLossError
from core.train.result import Result, has_result, read_result
from core.train.run_identity import has_begun, with_split_of_run, write_or_check_spec
from core.train.stages import Stages
from core.train.step_metrics import step_metrics, validation_metrics, values_to_check
from core.train.throughput import Throughput
from core.train.validation_alerts import ValidationAlerts
from core.train.winning_shares import WinningShares
from core.train.writer import Writer


def fit(
    spec: JobSpec,
    run_dir: Path,
    *,
    reporter: Reporter,
    data_roots: Sequence[Path],
    should_stop: Callable[[], bool] = lambda: False,
    device: str | None = None,
    content_cache: Path | None = None,
) -> Result:
    """Trains a job in its run directory, from its newest checkpoint if there is one, and measures it on the test set.

    Under RANK and WORLD_SIZE every process calls this with the same arguments. `should_stop` is called after every
    step; once it returns true, the run writes a checkpoint and returns with state `stopped`. The folder `content_cache`
    keeps digests of data. Raises ValueError for mistakes of the user (ComponentError for components that do not
    fit; data that have changed since the run began) and NonFiniteLossError.
    """
    assert not isinstance(spec, EvaluateJob), "evaluate jobs are run by evaluate_job"
    runtime = start_runtime(spec, device)
    reporter = reporter if runtime.is_main else NullReporter()
    activity = Activity(reporter)
    writer = Writer()
    run, cache = RunDir(run_dir), ContentCache(content_cache)
    try:
        # The specification and its data.
        sources = load_sources(spec)
        spec = complete_spec(with_split_of_run(spec, run_dir), sources)
        if has_result(run_dir):
            write_or_check_spec(spec, sources, run_dir)
            check_result(spec, run_dir, data_roots, cache, activity)
            return read_result(run_dir)
        loaded = load_with_content(spec, data_roots, cache, reporter, runtime)
        data, content = loaded.data, loaded.content
        plan = make_plan(spec, count_images(data), sources, activations=False)
        training, epochs = spec.training, spec.training.epochs or 0
        begun = None
        if runtime.is_main:
            write_or_check_spec(spec, sources, run_dir)
            begun = begin_identity(spec, sources, run_dir, content, cache)
            keep_splits(data.splits, run.splits, has_begun=has_begun(run_dir))
        runtime.barrier()
        train, selection = train_batches(data, spec, runtime), selection_batches(data, spec, runtime)
        shape, mean, std = data.shape, data.dataset.mean, data.dataset.std
        augment = BatchAugment(plan.augmentation.recipe, mean=mean, std=std, num_classes=shape.num_classes)

        # The model.
        torch.manual_seed(training.seed)
        model = build_model(spec, shape)
        # Experts that no stage trains keep their own heads: new ones would never be trained.
        keep_heads = "experts" in model.frozen
        load_weights(model, sources, shape, classes=data.classes, keep_heads=keep_heads)
        classes = expert_classes(spec, sources, data.classes, keep_heads=keep_heads)
        model.to(runtime.device).to(memory_format=torch.channels_last)
        compiled = training.compile if training.compile is not None else runtime.device.type == "cuda"

        # The newest checkpoint, and the optimizers that it belongs to.
        saved = load_newest(run.checkpoints, lambda damage: damage_alert(damage).raise_to(reporter))
        record = record_identity(begun, run_dir, runtime, spec, reporter, model=model, resumed_from=saved)
        identity = record.digest if record else ""
        # Runs of earlier versions trained new heads in the experts' group; they continue as they began.
        new_heads = plan.new_heads if saved is None or "expert_heads" in saved.state["updates"] else ()
        optimizers = ComponentOptimizers(
            optimizer_groups(model, new_heads),
            plan.policies,
            plan.rates,
            epochs=epochs,
            clip_norm=training.clip_norm or 0.0,
        )
        stages = Stages(plan, model, optimizers, runtime, compiled=compiled)
        meter, epoch_meter = Meter(runtime.device), Meter(runtime.device)
        detector = NonFiniteDetector(runtime.device, optimizers.rates, runtime.precision)
        # Of experts that are trained alone, or not at all, none wins over the others.
        is_joint = len(model.experts) > 1 and not keep_heads
        watch = ValidationAlerts(epochs=epochs, num_classes=shape.num_classes)
        shares = WinningShares(training.loss.individual, len(model.experts)) if is_joint else None
        best = BestComponents(
            run.components,
            record_precision(component_configs(spec, model, data, sources, classes), runtime.precision),
            on_save=lambda manifest: reporter.emit("component", manifest),
            identity=identity,
        )
        step = epochs_done = 0
        parent = saved.sha256 if saved else None
        if saved:
            # An epoch is done once it is measured: a run can stop between its last step and that.
            step, epochs_done = saved.step, saved.epoch
            model.load_state_dict(saved.state["model"])
            optimizers.load_state_dict(saved.state["updates"])
            meter.load_state_dict(saved.state["meter"])
            if shares and "winning_shares" in saved.state:
                shares.load_state_dict(saved.state["winning_shares"])
            if "validation_alerts" in saved.state:
                watch.load_state_dict(saved.state["validation_alerts"])
            # Runs of earlier versions did not have it.
            epoch_meter.load_state_dict(saved.state.get("epoch_meter", {"sums": {}, "counts": {}}))
            reporter.emit("log", {"level": "info", "message": f"resuming from step {step} ({saved.path.name})"})
        reporter.emit("config", plan.to_json())
        reporter.emit("state", {"state": "running", "step": step})
        if runtime.is_main:
            # An attempt that was killed after its last checkpoint may have saved components that nobody heard of.
            best.restore()

        sample = training_sample(data, spec, runtime, num_images=selection.num_images)

        def measure(phase: str, batches: Iterable[Batch]) -> Evaluation:
            return evaluate(
                model,
                activity.watch(phase, batches),
                lambda images: normalize(images, mean, std),
                runtime,
                num_classes=shape.num_classes,
                classes=None if isinstance(spec, ExpertJob) else classes,
            )

        def snapshot() -> Any:
            state = {
                "model": model.state_dict(),
                "updates": optimizers.state_dict(),
                "meter": meter.state_dict(),
                "epoch_meter": epoch_meter.state_dict(),
                "validation_alerts": watch.state_dict(),
            }
            return writer.snapshot(state | ({"winning_shares": shares.state_dict()} if shares else {}))

        def checkpoint_write(state: Any) -> Callable[[], object]:
            position = {"step": step, "epoch": epochs_done, "keep": spec.checkpoint.keep}

            def write() -> None:
                nonlocal parent
                started = time.monotonic()
                path = save_checkpoint(run.checkpoints, state, **position, parent=parent, identity=identity)
                parent = checkpoint_sha256(path)
                throughput.checkpoint_s = time.monotonic() - started
                reporter.emit("checkpoint", {"step": position["step"]})

            return write

        def checkpoint() -> None:
            detector.check()
            if runtime.is_main:
                writer.submit(checkpoint_write(snapshot()))

        steps_per_epoch, total_steps = train.steps_per_epoch, epochs * train.steps_per_epoch
        log_every = max(1, min(50, steps_per_epoch // 4))
        throughput = Throughput(start=step, steps=total_steps, batch_size=train.batch_size)
        model.train()
        for epoch in range(epochs_done, epochs):
            begins_stage = stages.start_epoch(epoch)
            if training.stages and begins_stage and step == epoch * steps_per_epoch:
                reporter.emit("log", {"level": "info", "message": stages.announcement})
            for images, labels in train.epoch(epoch, start_step=step - epoch * steps_per_epoch):
                # All randomness of a step is a function of (seed, step), so that a resumed run draws the same.
                rng = np.random.default_rng([training.seed, step])
                torch.manual_seed(int(np.random.SeedSequence([training.seed, step, runtime.rank]).generate_state(1)[0]))
                inputs, targets = augment(images, labels, rng, rank=runtime.rank, world_size=runtime.world_size)
                progress = stages.progress(step, steps_per_epoch)
                present = present_experts(spec, runtime, step=step, batch=len(images))
                is_first = step % steps_per_epoch == 0
                if is_first:
                    epoch_meter.add(stages.measure(inputs, targets, present, step=step, progress=progress))
                with runtime.autocast():
                    outputs: Outputs = stages.forward(runtime.format(inputs), present)
                # Frozen experts learn neither from the labels nor from each other.
                experts = outputs.experts if stages.experts_trained else []
                loss = stages.criterion(outputs.fused, experts, targets, progress=progress)
                epoch_meter.add(stages.backward(loss, first=is_first))
                # The last batch of a stage steps every component on what it has: the next one starts afresh.
                reports = optimizers.step(last=stages.ends_with(epoch) and (step + 1) % steps_per_epoch == 0)
                detector.add(step, values_to_check(loss, reports))
                meter.add(step_metrics(loss, reports, outputs, targets, experts_trained=stages.experts_trained))
                step += 1
                if step % log_every == 0 or step % steps_per_epoch == 0:
                    detector.check()
                    values = {key: runtime.mean(value) for key, value in meter.read().items()}
                    values |= {f"lr/{name}": rate for name, rate in optimizers.rates().items()}
                    if outputs.fused is not None:
                        values["lambda"] = stages.settings.loss.lambda_individual
                    temperature = stages.criterion.temperature(progress)
                    if is_joint and stages.experts_trained and temperature is not None:
                        values["temperature"] = temperature
                    reporter.emit("metrics", {"step": step, "values": throughput.measure(step, runtime) | values})
                if throughput.is_due(step) and step % steps_per_epoch:
                    reporter.emit("progress", throughput.progress(step, steps_per_epoch))
                if runtime.any_rank(should_stop()) and step < total_steps:
                    checkpoint()
                    writer.flush()
                    if runtime.any_rank(loaded.has_changed()) and record:
                        record.note_changed_data(step=step)
                    reporter.emit("state", {"state": "stopped", "step": step})
                    return Result("stopped", step, epochs_done, {})
                if spec.checkpoint.every_steps and step % spec.checkpoint.every_steps == 0 and step % steps_per_epoch:
                    checkpoint()

            # The end of an epoch: validation, best components, checkpoint.
            detector.check()
            runtime.broadcast_buffers(model)
            measured = measure("validation", selection.epoch(0))
            if measured.non_finite:
                path = next(iter(measured.non_finite))
                raise detector.error(step, path, f"the validation output of {path}")
            measured = without_untrained_heads(measured, stages.untrained_heads)
            # Ambiguity is compared between images that differ in nothing but whether the experts have learnt them.
            has_ambiguity = "ambiguity" in measured.metrics
            sampled = measure("training sample", train.read(sample.epoch(0))) if has_ambiguity else None
            means = {key: runtime.mean(value) for key, value in epoch_meter.read().items()}
            values = epoch_metrics(means, measured, sampled, stage=stages.settings.number if training.stages else None)
            reporter.emit("metrics", {"step": step, "values": validation_metrics(measured) | values})
            # Untrained heads, or experts that a stage leaves alone, win and lose for no reason of their own.
            is_contest = stages.experts_trained and not stages.untrained_heads
            epochs_done = epoch + 1
            alerts = shares.update(measured, step) if shares and is_contest else []
            for alert in alerts + watch.update(measured, epoch=epochs_done, step=step):
                alert.raise_to(reporter)
            if runtime.is_main:
                state = snapshot()
                writes: list[Callable[[], object]] = []
                # A snapshot with untrained heads would be measured and reused as if they were trained.
                if not stages.untrained_heads:
                    writes += best.updates(state["model"], measured.metrics, epoch=epochs_done, step=step)
                if epochs_done % spec.checkpoint.every_epochs == 0 or epochs_done == epochs:
                    writes.append(checkpoint_write(state))
                writer.submit(*writes)
            reporter.emit("progress", throughput.progress(step, steps_per_epoch))

        writer.flush()
        runtime.barrier()
        return finish(
            spec,
            run_dir,
            model,
            loaded,
            sources,
            classes,
            runtime,
            reporter,
            step=step,
            epoch=epochs,
            record=record,
            shares=shares,
        )
    except NonFiniteLossError as error:
        error.alert().raise_to(reporter)
        raise
    finally:
        writer.close()
        stop_runtime(runtime)
