# SPDX-License-Identifier: Apache-2.0
"""What is in a trace? Events: something that began and ended, which is a step or a stage without steps."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.step import Step

VERB, HOST, INIT = 0, 1, 2  # the rows of the picture


class Event:
    """Begin and end are ns of CLOCK_REALTIME.

    step   the step, if it is one
    index  its number in the plan, from 0
    name   what it is, if it is no step: the verb, or a stage of it
    """

    __slots__ = ("begin", "end", "index", "name", "step")

    def __init__(
        self, begin: int, end: int, *, name: str = "", index: int = -1, step: Step | None = None
    ) -> None:
        self.begin = begin
        self.end = end
        self.name = name
        self.index = index
        self.step = step

    @property
    def row(self) -> int:
        """Who did it: VERB if it is no step."""
        if self.step is None:
            return VERB
        return HOST if self.step.where == "host" else INIT

    @property
    def length(self) -> int:
        """From begin to end, in ns."""
        return self.end - self.begin
