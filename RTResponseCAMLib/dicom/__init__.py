"""DICOM input: find the objects of a study, follow their references, read them into the domain types of `study`."""
