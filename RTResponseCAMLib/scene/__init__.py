"""MRML nodes, their display, and the saved scene. Imports slicer inside its functions; never imports qt."""
