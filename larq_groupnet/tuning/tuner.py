"""keras-tuner's loop over trials: alone, or as chief and workers."""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import keras_tuner

from larq_groupnet.errors import Interrupted, RecipeError
from larq_groupnet.files import write_json
from larq_groupnet.training.callbacks import TrainingError
from larq_groupnet.tuning.oracles import SearchOracle
from larq_groupnet.tuning.trial import GroupNetHyperModel

TRIALS = "trials"
"""Folder of the trials, beside the report."""

RUN = "run"
"""Folder within that of a trial which holds what any run holds."""

STARTS = 3
"""How often a trial may begin at the same point before it counts as failed: the kernel kills a
process that is out of memory without a word."""

IDLE_SECONDS = 0.5
"""How long to wait before asking an oracle again that had nothing to do."""

ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def role() -> str:
    """`"alone"`, `"chief"` or `"worker"`, from keras-tuner's own environment variables.

    Raises:
        RecipeError: If only some of them are set, or the port is none.
    """
    given = {name: os.environ.get(name, "") for name in ENVIRONMENT}
    if not any(given.values()):
        return "alone"
    port = given["KERASTUNER_ORACLE_PORT"]
    if not all(given.values()) or not port.isdecimal() or not 0 < int(port) < 2**16:
        received = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise RecipeError(
            "tune: expected all three of a name such as chief or worker0, the chief's address and "
            f"its port in the environment, or none of them. Received: {received}"
        )
    return "chief" if "chief" in given["KERASTUNER_TUNER_ID"] else "worker"


class SearchTuner(keras_tuner.Tuner):
    """Runs the trials of an oracle, each in a folder from which it goes on after a kill.

    Args:
        oracle: Chooses the candidates.
        hypermodel: Trains them.
        output_dir: Of the search.
    """

    def __init__(self, oracle: SearchOracle, hypermodel: GroupNetHyperModel, output_dir: Path):
        self._idle = False
        super().__init__(
            oracle=oracle,
            hypermodel=hypermodel,
            directory=str(output_dir),
            project_name=TRIALS,
        )
        if role() != "worker":
            self.save()  # From the first trial on there is something to go on with.

    def run_trial(self, trial: keras_tuner.engine.trial.Trial, *_: Any, **__: Any) -> Any:
        """Trains one candidate."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        return self.hypermodel.fit(trial.hyperparameters, None, folder=folder / RUN)

    def pre_create_trial(self) -> None:
        """Does not ask again at once where there was nothing to do."""
        if self._idle:
            time.sleep(IDLE_SECONDS)
        self._idle = True

    def on_trial_begin(self, trial: keras_tuner.engine.trial.Trial) -> None:
        """There was something to do."""
        self._idle = False

    def _try_run_and_update_trial(
        self, trial: keras_tuner.engine.trial.Trial, *args: Any, **kwargs: Any
    ) -> None:
        """Records a failure and goes on; keras-tuner would take a Ctrl-C for one as well."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        try:
            _count_start(folder)
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = "COMPLETED"
        except (Interrupted, OSError, grpc.RpcError):
            (folder / "starts.json").unlink(missing_ok=True)  # Not the candidate's fault.
            raise
        except Exception as error:
            trial.status = "FAILED"
            trial.message = traceback.format_exc()
            reason = (str(error).splitlines() or [""])[0]
            text = f"{type(error).__name__}: {reason}"
            (folder / "failure.txt").write_text(text + "\n")
            print(f"Trial {trial.trial_id} failed, and the search goes on: {text}", flush=True)

    def _populate_initial_space(self) -> None:
        """The oracle knows the space; keras-tuner would build networks to find it out."""

    def _get_tuner_fname(self) -> str:
        """One name for all: a search may go on with other workers."""
        return str(Path(self.project_dir) / "tuner.json")

    def save(self) -> None:
        """Whole or not at all, the oracle first."""
        if not self._is_worker():
            self.oracle.save()
        write_json(Path(self._get_tuner_fname()), self.get_state())


def _count_start(folder: Path) -> None:
    """Remembers where a trial begins.

    Raises:
        TrainingError: If it has begun there too often, and never got on.
    """
    file, snapshots = folder / "starts.json", folder / RUN / "snapshots"
    last = max((path.name for path in snapshots.glob("[0-9]*")), default="the beginning")
    before = json.loads(file.read_text()) if file.is_file() else {}
    count = before.get(last, 0) + 1
    if count > STARTS:
        raise TrainingError(
            f"the process ended {STARTS} times without getting beyond {last}; out of memory?"
        )
    write_json(file, {last: count})


@contextlib.contextmanager
def explained(output_dir: Path) -> Iterator[None]:
    """Says in one line how a search that was stopped goes on."""
    again = f"Go on with the same command and --output_dir {output_dir}"
    try:
        yield
    except Interrupted as error:
        where = str(error).partition(";")[0]
        raise Interrupted(f"the search was {where}; it is saved. {again}", error.signum) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"the search was stopped; it is saved. {again}", 2) from error
    except grpc.RpcError as error:
        raise TrainingError(
            f"the chief is gone, or cannot be reached: {error.details()}. Start it again, and this "
            "worker after it"
        ) from error
