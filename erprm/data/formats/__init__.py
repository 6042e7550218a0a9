"""Step-labelled data of other projects, read as rollout records and written from them; one module a layout."""

from typing import TYPE_CHECKING, Literal

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.data.formats.exporting import export_official as export_official
    from erprm.data.formats.exporting import export_trl as export_trl
    from erprm.data.formats.importing import ImportOptions as ImportOptions
    from erprm.data.formats.importing import RecordImport as RecordImport
    from erprm.data.formats.importing import detect_format as detect_format
    from erprm.data.formats.importing import import_math_shepherd as import_math_shepherd
    from erprm.data.formats.importing import import_official as import_official
    from erprm.data.formats.importing import import_prm800k as import_prm800k
    from erprm.data.formats.importing import import_processbench as import_processbench
    from erprm.data.formats.importing import import_trl as import_trl

# Names of layouts and of the ways to make labels for them: here, where they load nothing, so that `--help` is fast.
FormatName = Literal["auto", "records", "official", "math_shepherd", "prm800k", "trl", "processbench"]
TargetName = Literal["records", "trl", "official"]
ExportLabels = Literal["er", "soft", "hard"]

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
