"""Step-labelled data of other projects, read as rollout records and written from them; one module a layout."""

from erprm.data.formats.exporting import export_official, export_trl
from erprm.data.formats.importing import (
    ImportOptions,
    RecordImport,
    detect_format,
    import_math_shepherd,
    import_official,
    import_prm800k,
    import_processbench,
    import_trl,
)

__all__ = [
    "ImportOptions",
    "RecordImport",
    "detect_format",
    "export_official",
    "export_trl",
    "import_math_shepherd",
    "import_official",
    "import_prm800k",
    "import_processbench",
    "import_trl",
]
