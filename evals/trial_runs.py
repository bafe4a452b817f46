"""A search and its trials as runs: one run for the search, one child for each trial."""

from __future__ import annotations

from collections.abc import Mapping

from evals.job_facts import JobFacts
from evals.store_folder import one_at_a_time
from evals.tracked_runs import (
    CONFIG_FILE,
    IDENTITY,
    LEVEL,
    PARENT,
    SOURCE,
    STOPPED,
    JobRun,
    TrackedRun,
    begin_or_continue,
)
from evals.tracking import Tracker
from valuesim_dspy.store import artifact_root

TRIAL, STATE = "valuesim.trial", "valuesim.state"


class TrialRun(TrackedRun):
    """The run of one trial, a child of its search's."""

    def state(self, state: str, reason: str = "") -> None:
        """Tag how the trial ended: `complete`, `pruned` or `failed`, and why."""
        self.set_tags({STATE: state, "reason": reason[:5000]})


class SearchRun(JobRun):
    """The run of a search; what is measured at its end are arms, as those of a job."""

    @classmethod
    def start(cls, tracker: Tracker, facts: JobFacts) -> SearchRun:
        """Begin the search's run, or continue the one of the same identity.

        Processes that share a store on this machine share the run.
        """
        key = {IDENTITY: facts.identity, LEVEL: "search"}
        tags = {**facts.tags, "job": facts.name, SOURCE: facts.command, STOPPED: "no", **key}
        # Of two processes that begin at once, the second finds what the first began.
        with one_at_a_time(artifact_root(tracker.uri)):
            run_id, continued = begin_or_continue(tracker, facts.name, key, tags)
        search = cls(tracker, run_id, facts, continued=continued)
        tracker.log_params(run_id, {name: str(value) for name, value in facts.params.items()})
        tracker.log_data(run_id, facts.data)
        search.log_json(dict(facts.config), CONFIG_FILE)
        search.log_json(dict(facts.details), "details.json")
        return search

    def trial(
        self, number: int, name: str, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> TrialRun:
        """Begin the run of a trial, or continue it.

        Args:
            number: The trial's; one run of that number in a search.
            name: What lists call it.
            params: The sampled keys and their values.
            tags: What trials are grouped by.
        """
        key = {PARENT: self.run_id, TRIAL: str(number)}
        own = {"job": self.name, SOURCE: self.facts.command, LEVEL: "trial", STATE: "running"}
        own[STOPPED] = "no"
        known = {**self.facts.tags, **own, **tags, **key}
        run_id, _ = begin_or_continue(self.tracker, name, key, known)
        self.tracker.log_params(run_id, {key: str(value) for key, value in params.items()})
        self.tracker.log_data(run_id, self.facts.data)
        return TrialRun(self.tracker, run_id, name)
