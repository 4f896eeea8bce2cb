"""From a user's files to the data root: what is accepted, what is wrong with it, taking it in."""

from corkboard.importing.load import ImportRefused, ImportReport, import_folder
from corkboard.importing.report import Example, Fault, FileReport, ValidationReport
from corkboard.importing.validate import validate_folder

__all__ = [
    "Example",
    "Fault",
    "FileReport",
    "ImportRefused",
    "ImportReport",
    "ValidationReport",
    "import_folder",
    "validate_folder",
]
