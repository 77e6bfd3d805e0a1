"""Published data sets of which there are several forms: another label of the same images, another partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cvbench.storage.datasets.base import DatasetInfo
from cvbench.storage.datasets.forms import Form, form_of
from cvbench.storage.datasets.readers.tree_reader import Located, TreeReader


@dataclass(frozen=True, eq=False, kw_only=True)
class WithForms(Located):
    """A reader whose argument chooses the form.

    Attributes:
        forms: What may follow the colon, the usual form first.
        info_of: What is known of a form, where that is not `info`.
    """

    forms: tuple[str, ...]
    info_of: Callable[[str], DatasetInfo] | None = None

    def form(self, argument: str) -> Form:
        """The form that the argument names.

        Raises:
            UnknownNameError: There is no such form.
        """
        return form_of(self.info, argument, self.forms)

    def variant(self, argument: str) -> DatasetInfo:
        """Facts known of another form.

        Raises:
            UnknownNameError: There is no such form.
        """
        label = self.form(argument).label
        return self.info if self.info_of is None else self.info_of(label)


@dataclass(frozen=True, eq=False, kw_only=True)
class FormReader(WithForms, TreeReader):
    """The reader of a data set of image files with several forms."""
