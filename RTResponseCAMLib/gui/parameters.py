"""Settings of the panel: the module's parameter node, saved with the scene."""

from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from RTResponseCAMLib.gui.choices import Colors, Device, DoseDisplay, Scale, Scope, Shown

PARAMETER_VERSION = 1


@parameterNodeWrapper
class PanelParameters:
    """Settings chosen by the user; saved with the scene.

    mrVolume, doseVolume, segmentation, followUpVolume - Inputs.
    camVolume - The evidence volume; its attributes contain the results of the lesions.
    prescriptionGy - Prescription for every lesion in Gy; 0 uses the prescription that the plan states per lesion.
    isodosePercent - Prescription isodose in percent of the maximum; 0 is "not stated".
    fractions - Number of fractions.
    bundleFolder - Folder of the model; empty for the model shipped with the module.
    device, scope - Device of the prediction, and the lesions to predict.
    selectedLesion - Id of the lesion in the views.
    opacity ... legend - Display of the evidence (threshold in units of evidence, logit).
    subregionThreshold - Evidence (logit) above which a voxel belongs to the subregion.
    version - Version of these settings; settings of another version are reset to their defaults.
    """

    mrVolume: vtkMRMLScalarVolumeNode
    doseVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    followUpVolume: vtkMRMLScalarVolumeNode
    camVolume: vtkMRMLScalarVolumeNode
    prescriptionGy: Annotated[float, WithinRange(0, 200)] = 0.0
    isodosePercent: Annotated[float, WithinRange(0, 100)] = 0.0
    fractions: Annotated[int, WithinRange(1, 60)] = 1
    bundleFolder: str = ""
    device: Device = Device.AUTO
    scope: Scope = Scope.ALL
    selectedLesion: str = ""
    opacity: Annotated[float, WithinRange(0, 1)] = 0.65
    threshold: Annotated[float, WithinRange(0, 6)] = 0.25
    shown: Shown = Shown.BOTH
    colors: Colors = Colors.EVIDENCE
    scale: Scale = Scale.FIXED
    doseDisplay: DoseDisplay = DoseDisplay.LINES
    graded: bool = False
    legend: bool = True
    subregionThreshold: Annotated[float, WithinRange(-20, 20)] = 0.0
    version: int = PARAMETER_VERSION


HEATMAP_PARAMETERS = ("opacity", "threshold", "shown", "colors", "scale", "doseDisplay", "graded", "legend")
