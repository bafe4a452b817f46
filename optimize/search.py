"""A search over the keys of a job, and its trials in an Optuna study that processes share."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from evals.study import open_study
from evals.tracking import Tracker
from optimize.planning import check_sets
from optimize.search_cost import agree
from optimize.search_loop import SearchJob, identity_parts
from optimize.search_pictures import draw_search
from optimize.search_plan import Plan, load_search
from optimize.search_space import SearchConfig, Value, suggest
from optimize.search_storage import JOURNAL, file_of, opened_alone, storage_address
from optimize.search_trial import REASON, ROOT, Asked, Tried, tried_of
from optimize.search_workers import BEAT, Worker, is_lost
from valuesim_dspy.errors import ConfigError
from valuesim_dspy.roles import blank_secrets
from valuesim_dspy.store import store_error

MOST_TRIES = 3
DIRECTIONS = {"accuracy": "maximize", "nmae": "minimize", "cost": "minimize"}
LEFT_OUT, TRIES = "left_out", "tries"
IDENTITY = "valuesim.identity"


def run_search(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
    is_agreed: bool = False,
) -> str:
    """Run the trials of a search that are still to be done, and return what came of it.

    Killed and started again it goes on; several processes may work on one search at once. The
    devset is read when all trials are done, by the process that ends last.

    Args:
        path: The search file.
        overrides: ``dotted.key=value`` each, as for `optimize.search_plan.load_search`.
        trials: The most trials of this process; by default all that are left.
        is_agreed: Whether an estimate above the config's limit needs no further consent.

    Raises:
        ConfigError: Something in the file cannot work; nothing was paid.
        BudgetExceededError: The budget is spent; the best so far was printed and is kept.
    """
    plan = load_search(path, overrides)
    if trials is not None and trials < 1:
        raise ConfigError("at least one trial", key="--trials", value=trials)
    with open_study(plan.job) as study:
        check_sets(study)
        agree(plan, study, is_agreed=is_agreed)
        tracker = Tracker(plan.job.store, share_rows=plan.job.share_rows)
        with open_board(plan, identity_parts(plan, study)) as board:
            draw = partial(draw_search, board.study, plan.search)
            return SearchJob(plan, study, board, draw).run(tracker, most=trials)


@contextlib.contextmanager
def open_board(plan: Plan, identity: Mapping[str, str]) -> Iterator[Board]:
    """Open the trials of a search, or begin them.

    Args:
        plan: The search.
        identity: What decides its results, part by part: a digest each.

    Raises:
        ConfigError: Trials of that name are of another search, or the address cannot be used.
        ValueSimError: The storage cannot be used.
    """
    search = plan.search
    address, where = storage_address(plan.search, plan.job.store)
    with _clear_errors(where), opened_alone(address):
        storage = _storage(address)
        study = optuna.create_study(
            study_name=search.study,
            storage=storage,
            sampler=SeededByTrial(search.seed, search.startup),
            pruner=_pruner(search),
            directions=[DIRECTIONS[name] for name in search.objectives],
            load_if_exists=True,
        )
        known = study.user_attrs.get(IDENTITY)
        if known is None:
            study.set_user_attr(IDENTITY, dict(identity))
    if known is not None and known != dict(identity):
        other = [name for name, digest in identity.items() if known.get(name) != digest]
        raise ConfigError(
            f"the trials of {search.study!r} in {where} are of another search ({', '.join(other)} "
            "differ); give this one a name of its own: --set search.study=NAME",
            key="search.study",
            value=search.study,
        )
    with _clear_errors(where):
        yield Board(plan, study, storage)


@dataclass(frozen=True, eq=False)
class Board:
    """The trials of a search, shared by all processes that work on it.

    Attributes:
        plan: The search.
        study: Optuna's study.
        storage: Where the study is kept.
    """

    plan: Plan
    study: optuna.Study
    storage: Any

    def trials(self) -> list[Tried]:
        """Return the trials that count: not those that were given back to be run again."""
        return [tried_of(trial, self.plan.search.objectives) for trial in counted(self.study)]

    def ask(self) -> Asked | None:
        """Return the next trial with its values; None when all are begun."""
        self._give_back_lost()
        known = counted(self.study)
        is_waiting = any(trial.state == TrialState.WAITING for trial in known)
        if not is_waiting and len(known) >= self.plan.search.trials:
            return None
        trial = self.study.ask()
        for name, value in Worker.here().attributes().items():
            self.mark(trial.number, name, value)
        if rank(self.study, trial.number) >= self.plan.search.trials:
            # Another process began the last one at the same moment.
            self._end(trial.number, LEFT_OUT, "one too many")
            return None
        root = int(trial.user_attrs.get(ROOT, self._free_number(trial.number)))
        self.mark(trial.number, ROOT, root)
        chosen: dict[str, Value] = {}
        for key, parameter in self.plan.ordered.items():
            if self.plan.applies(key, chosen):
                chosen[key] = suggest(trial, key, parameter)
        return Asked(trial.number, root, chosen, trial)

    def mark(self, number: int, name: str, value: object) -> None:
        """Set an attribute of a trial that has not ended; from any thread."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        # A storage that is busy hears the next heartbeat.
        busy = (optuna.exceptions.StorageInternalError,) if name == BEAT else ()
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, *busy):
            self.storage.set_trial_user_attr(trial_id, name, value)

    def report(self, asked: Asked, value: float, step: int) -> bool:
        """Report the objective on a part of the valset; return whether to prune."""
        if len(self.plan.search.objectives) > 1:
            return False
        asked.trial.report(value, step)
        return bool(asked.trial.should_prune())

    def complete(self, asked: Asked, values: Sequence[float] | None) -> None:
        """End a trial that was measured on the whole valset; without values, that was pruned."""
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        self.study.tell(asked.trial, None if values is None else list(values), state)

    def fail(self, asked: Asked, reason: str) -> None:
        """End a trial that has no score, and say why."""
        self._end(asked.number, REASON, reason)

    def give_back(self, number: int, why: str, *, is_lost: bool = False) -> None:
        """End a trial and have it run again with the values it had.

        One whose process was lost three times is not tried a fourth time: it may be what ends it.
        """
        trial = next(t for t in self.study.get_trials(deepcopy=False) if t.number == number)
        tries = int(trial.user_attrs.get(TRIES, 0)) + is_lost
        if tries >= MOST_TRIES:
            self._end(number, REASON, f"{why}, {tries} times")
        elif self._end(number, LEFT_OUT, why):
            root = trial.user_attrs.get(ROOT, number)
            self.study.enqueue_trial(trial.params, user_attrs={ROOT: root, TRIES: tries})

    def _free_number(self, number: int) -> int:
        """Return what a new trial is called: trials given back leave no gaps."""
        taken = {t.user_attrs.get(ROOT) for t in counted(self.study) if t.number != number}
        called = rank(self.study, number)
        while called in taken:
            called += 1
        return called

    def _give_back_lost(self) -> None:
        for trial in counted(self.study):
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            if trial.state == TrialState.RUNNING and is_lost(trial.user_attrs, begun=begun):
                self.give_back(trial.number, "its process ended", is_lost=True)

    def _end(self, number: int, name: str, why: str) -> bool:
        """End a trial without a score; of several processes that do, one gets True."""
        self.mark(number, name, why)
        with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
            self.study.tell(number, state=TrialState.FAIL)
            return True
        return False


class SeededByTrial(BaseSampler):
    """TPE with a seed of its own for every trial.

    The seed comes of the search's and of how many trials were begun before: whoever runs a
    trial, and however often the search was interrupted, the same trials before it lead to the
    same values; and processes side by side, whose trials differ in number, never sample alike.

    Args:
        seed: The search's.
        startup: Trials drawn at random before TPE has something to learn from.
    """

    def __init__(self, seed: int, startup: int) -> None:
        self._seed, self._startup = seed, startup
        self._tpe = self._made(0)

    def _made(self, place: int) -> TPESampler:
        seed = random.Random(f"{self._seed}:trial {place}").getrandbits(31)
        return TPESampler(seed=seed, n_startup_trials=self._startup)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Take the trial's own seed."""
        self._tpe = self._made(rank(study, trial.number))

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:
        """Return the keys that TPE samples together."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        """Sample these keys."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, distribution: Any) -> Any:
        """Sample one key by itself."""
        return self._tpe.sample_independent(study, trial, param_name, distribution)


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count."""
    return [t for t in study.get_trials(deepcopy=False) if LEFT_OUT not in t.user_attrs]


def rank(study: optuna.Study, number: int) -> int:
    """Return how many trials that count come before one."""
    return sum(trial.number < number for trial in counted(study))


def _pruner(search: SearchConfig) -> optuna.pruners.BasePruner:
    if search.pruning == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=min(5, search.startup))
    if search.pruning == "successive-halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    return optuna.pruners.NopPruner()


def _storage(address: str) -> Any:
    if address.startswith(JOURNAL):
        journal = optuna.storages.journal
        path = Path(address.removeprefix(JOURNAL)).expanduser()
        path.touch(mode=0o600)
        return journal.JournalStorage(journal.JournalFileBackend(str(path)))
    is_file = address.startswith("sqlite")
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if is_file else {}
    try:
        storage = optuna.storages.RDBStorage(address, engine_kwargs=options)
    except ImportError as error:
        driver = blank_secrets(str(error).splitlines()[0])
        message = f"its driver is missing ({driver}); install it"
        raise ConfigError(message, key="search.storage") from None
    file = file_of(address)
    if file is not None:
        file.chmod(0o600)
    return storage


@contextlib.contextmanager
def _clear_errors(where: str) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__
        raise store_error(where, cause if isinstance(cause, Exception) else error) from None
    finally:
        optuna.logging.set_verbosity(before)
