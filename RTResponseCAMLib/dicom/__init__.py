"""DICOM in: find a study's objects, follow their references, read them into the nouns of `study`."""
