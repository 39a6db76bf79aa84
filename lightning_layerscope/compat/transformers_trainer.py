"""What is known of ``transformers.Trainer`` beyond what it hands to its callbacks."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calling_trainer(callback: Any) -> Any:
    """The trainer that is calling one of this callback's hooks; callbacks are not given it.

    Raises:
        LookupError: When it is not found among the callers.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        # Only what lies in the instance: to ask an unknown object for an attribute may run its code.
        caller = frame.f_locals.get("self")
        handler = getattr(caller, "__dict__", {}).get("callback_handler")
        if handler is not None and any(one is callback for one in handler.callbacks):
            return caller
        frame = frame.f_back
    raise LookupError(
        "the trainer that calls the monitor was not found among its callers; this version of transformers calls its "
        "callbacks in another way"
    )


class EvaluationSteps:
    """Tells when a step of an evaluation begins and ends, while it is attached to a trainer.

    The trainer's callbacks are told of a step afterwards alone, and never of its batch. The labels in it may not reach
    the model (label smoothing, ``compute_loss_func``), and other callbacks run the model between the steps.

    Args:
        trainer: Whose ``prediction_step`` is wrapped, on this instance alone.
        begin: Called with the batch; must not raise.
        end: Called afterwards; must not raise.
    """

    def __init__(self, trainer: Any, begin: Callable[[Any], None], end: Callable[[], None]) -> None:
        self._trainer = trainer
        self._own = vars(trainer).get("prediction_step")
        step = trainer.prediction_step

        @functools.wraps(step)
        def watched(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            begin(inputs)
            try:
                return step(model, inputs, *args, **kwargs)
            finally:
                end()

        trainer.prediction_step = watched

    def detach(self) -> None:
        """Give the trainer its own step back."""
        if self._own is None:
            vars(self._trainer).pop("prediction_step", None)
        else:
            self._trainer.prediction_step = self._own


def tensorboard_writer(trainer: Any) -> Any:
    """The ``SummaryWriter`` that the trainer itself logs to; None without ``report_to="tensorboard"``."""
    for callback in trainer.callback_handler.callbacks:
        if any(base.__name__ == "TensorBoardCallback" for base in type(callback).__mro__):
            return getattr(callback, "tb_writer", None)
    return None


def own_handle(trainer: Any, name: str) -> Any:
    """A tracker's own object that the trainer itself logs to, beside W&B's and TensorBoard's.

    Args:
        trainer: Of transformers.
        name: In its ``report_to``.

    Returns:
        The object; None where the tracker is unknown here, or was not opened.
    """
    module: Any = sys.modules.get(name)
    if module is None:
        return None
    if name == "mlflow":
        return module.active_run()
    if name == "comet_ml":
        return module.get_running_experiment()
    if name == "swanlab":
        return module.get_run()
    if name == "clearml":
        return module.Task.current_task()
    if name == "trackio":
        return module.context_vars.current_run.get()
    if name == "dvclive":
        callbacks = trainer.callback_handler.callbacks
        lives = (one.live for one in callbacks if any(base.__name__ == "DVCLiveCallback" for base in type(one).__mro__))
        return next(lives, None)
    return None


class BeforeTheEnd:
    """Has the trainer's callbacks told of the end of training after this one was, while it is attached.

    The callbacks of trackers close them at the end of training, before those of the user are told of it.

    Args:
        trainer: Whose list of callbacks is replaced, on this instance alone.
        first: A callback whose ``on_train_end`` comes before all others.
    """

    def __init__(self, trainer: Any, first: Any) -> None:
        self._handler, self._first = trainer.callback_handler, first
        # Another list: the trainer may be going through the one it has.
        self._handler.callbacks = [first, *self._handler.callbacks]

    def detach(self) -> None:
        """Give the trainer its own callbacks back."""
        self._handler.callbacks = [one for one in self._handler.callbacks if one is not self._first]
