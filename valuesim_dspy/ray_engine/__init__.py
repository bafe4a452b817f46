"""The Ray engine: the rows of a plan, answered by workers on the machines of a cluster.

The driver alone keeps the journal. A worker gets the plan as JSON and the program as its two
files; its keys come from its own environment, its responses go to its own machine's cache. Ray is
an extra: nothing here imports it before `run_on_ray` is called.
"""

from valuesim_dspy.ray_engine.driver import run_on_ray
from valuesim_dspy.ray_engine.keeping import Traffic
from valuesim_dspy.ray_engine.worker import Parcel, Worker, divided, pack

__all__ = ["Parcel", "Traffic", "Worker", "divided", "pack", "run_on_ray"]
