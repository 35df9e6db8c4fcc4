"""The smallest honest stand-in for Slicer's application layer, for tests of the panel without the application.

Real here: MRML, its logics and slicer.util (slicer-core), slice views (trame-slicer), Qt (PySide6), the module.
Stand-ins, each saying what of Slicer it imitates: PythonQt (`pythonqt`), ctk and qMRML widgets (`widgets`), the
parameter node wrapper (`parameter_node`), the scripted module's bases (`scripted_module`), slicer.app, its layout
manager and module manager (`application`). With RTRESPONSECAM_SLICER_SOURCES set to Slicer's Base/Python, its own
wrapper and base classes are used instead of ours.
"""

from .application import Host, start

__all__ = ["Host", "start"]
