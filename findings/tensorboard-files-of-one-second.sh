#!/usr/bin/env bash
# TensorBoard 2.20.0 orders the event files of a run by their names as text. A name holds the second, the host, the process and a count within
# the process, so that of two files opened in one second the tenth comes before the ninth (and process 10000 before 9999).
# It hurts whoever resumes a run with a purge step (what PyTorch's SummaryWriter and Lightning's TensorBoardLogger offer for it): read the wrong
# way round, the first session's start message takes away the curves of the second. All of the newer values are gone, and the older ones stay.
# It comes from resuming within a second in one process: a test, a notebook's cell, a loop over short trainings.
# What to do: open the second file in a later second. diffcli waits for it (diffcli/training/loggers.py).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check "tensorboard==2.20.0" "numpy==2.2.6" "setuptools==80.9.0" >/dev/null 2>&1
v/bin/python - <<'PY'
import logging
import sys
import time

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

logging.getLogger("tensorboard").setLevel(logging.ERROR)
print(f"tensorboard {tensorboard.version.VERSION}")


def session(folder, loss, steps):
    """Logs a loss from step 0 on, and says first that what was logged from step 0 on is void."""
    writer = EventFileWriter(folder)
    writer.add_event(Event(step=0, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START)))
    for step in range(steps):
        value = Summary(value=[Summary.Value(tag="loss", simple_value=loss)])
        writer.add_event(Event(step=step, wall_time=time.time(), summary=value))
    writer.close()


def curve(folder):
    return [(event.step, event.value) for event in EventAccumulator(folder).Reload().Scalars("loss")]


curves = {}
for name, pause in (("same second", 0), ("a second later", 1.1)):
    folder = name.replace(" ", "-")
    while True:  # until the first session's count has one digit less than the second's
        probe = EventFileWriter("probe")
        count = int(probe._file_name.split(".")[-1])
        probe.close()
        if len(str(count + 2)) > len(str(count + 1)):
            break
    time.sleep(1 - time.time() % 1)
    session(folder, 5.0, 1)
    time.sleep(pause)
    session(folder, 3.0, 2)
    curves[name] = curve(folder)
    print(f"resumed in the {name}: {curves[name]}" if not pause else f"resumed {name}: {curves[name]}")
holds = curves["same second"] == [(0, 5.0)] and curves["a second later"] == [(0, 3.0), (1, 3.0)]
print("Still so: the curve of the resume is lost, the void one is shown." if holds else "Changed: see above.")
sys.exit(0 if holds else 1)
PY
