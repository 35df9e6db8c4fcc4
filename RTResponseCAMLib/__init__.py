"""RTResponseCAM: pixel-wise evidence of Gamma Knife response in brain metastases. Research use only."""

__version__ = "0.1.0"
