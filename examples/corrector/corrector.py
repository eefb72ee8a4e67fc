#!/usr/bin/env python3
"""The corrector: when a stream drifts it retrains the model, and tells the service that the new normal is the reference.

    corrector.py            # in the folder of state.db, until SIGTERM or Ctrl-C
    corrector.py --once     # what is there now, then it ends

An event may come again, as after a crash in the middle of it. It acts once: a model that was learnt for it is there already, and the command has the
event's id.
"""

from __future__ import annotations

import sys

from model import learnt, learnt_for, put_in_place

from streamkl import Control, DriftEvent, RecordError, subscribe

STATE = "sqlite:///state.db"


@subscribe(STATE, group="retrainer", streams="servers/*/cpu", kinds=["drift.raised"])
def retrain(event: DriftEvent) -> None:
    """Learn what was served since the beginning of the window that raised the alarm: the change, and all that came after it."""
    if event.farthest is None or event.position is None:
        raise RecordError("an alarm without its window, or without its line in the log")
    model = learnt_for(event.id)
    if model is None:
        model = learnt(event.position + 1 - event.farthest.window, event.id)
        put_in_place(model)
        print(f"retrained on lines {model.lines[0]} to {model.lines[1]} for {event.id}", flush=True)
    with Control(STATE, by="retrainer") as control:
        control.rebaseline(event.stream, reason="a model of lines {} to {} is in place".format(*model.lines), id=event.id)


if __name__ == "__main__":
    if sys.argv[1:] == ["--once"]:
        print(f"{retrain.run_once()} events dealt with")
        retrain.close()
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        retrain.run()
