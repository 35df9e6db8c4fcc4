"""Parts of the Slicer module's panel. The only room that imports qt."""
