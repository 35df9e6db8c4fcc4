"""MRML: nodes, their display, the saved scene. Imports slicer inside its functions; never qt."""
