"""The workflows: prediction, training, evaluation, follow-up, subregions and export."""
