"""The numbers of a finished training, from those who counted them: what result.json holds."""

import time
from collections.abc import Iterable
from dataclasses import asdict

from trainer.checkpoints import digest
from trainer.chronicle import Chronicle
from trainer.course import Course, Finished
from trainer.faults.log import FaultRecord
from trainer.result import Summary
from trainer.resuming import Beginning


def summed_up(
    beginning: Beginning,
    course: Course,
    chronicle: Chronicle,
    last: Finished,
    faults: Iterable[FaultRecord],
) -> Summary:
    """What a training came to, all its processes together; `last`: its last epoch."""
    done, report = last
    start, told, began_s = beginning.checkpoint, chronicle.recoveries, chronicle.began_s
    return Summary(
        digest=digest(done.parameters),
        accuracy=report.accuracy,
        loss=report.loss,
        test_loss=report.test_loss,
        epochs=report.epoch,
        steps=done.step,
        samples_applied=course.sample_count,
        train_s=course.ended_s - course.started_s,
        start_s=course.started_s - began_s,
        wall_s=time.monotonic() - began_s,
        workers=chronicle.roster.most_workers,
        deaths=told.deaths,
        restarts=told.restarts,
        suspicions=told.suspicions,
        refused_connections=told.refused_connections,
        repeated_steps=told.repeated_steps,
        stalls_s=told.stalls_s,
        recoveries=chronicle.all_recoveries(),
        resumes=beginning.resumes,
        resumed_at_step=start.step if start else 0,
        resumed_at_sample=start.samples_applied + start.sample_count if start else 0,
        unlike_hosts=chronicle.unlike_hosts,
        nodes=chronicle.roster.nodes_used,
        faults=[asdict(record) for record in faults],
        local_steps=beginning.config.training.local_steps,
    )
