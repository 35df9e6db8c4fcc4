"""Many studies: one manifest for phantoms and patients, and an importer for each public data set's layout."""
